/**
 * Finds a transaction or a restore point in the WAL (I3). No metadata says where they are, so each stretch between two
 * backups is read, the newest first: the backup before the one that holds it is the one to start from.
 */
import { parseLsn, formatLsn } from '../postgres/lsn.js'
import { formatTarget, type RecoveryTarget } from '../postgres/recovery-target.js'
import type { TransactionEvent } from '../postgres/wal-transactions.js'
import type { BackupRecord } from '../repository/backup-record.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { pathTo, segmentsOfPath, type TimelineTree } from '../repository/timeline-tree.js'
import { scanTransactions } from '../repository/wal-search.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { UnreachableTargetError } from './unreachable-target.js'

/** A backup, and what was looked for behind it. */
export interface ScanResult {
  backup: BackupRecord
  found: TransactionEvent
}

/** What can only be found by reading. */
export type ScanTarget = Extract<RecoveryTarget, { kind: 'xid' | 'name' }>

/**
 * Looks behind each of `backups` (newest first, all on the way to `timeline`) up to the next one. Rejects with
 * UnreachableTargetError where it is nowhere, or where a name is there more than once: recovery stops at the first.
 */
export async function scanForTarget(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  backups: readonly BackupRecord[],
  { target, timeline }: { target: ScanTarget; timeline: number },
  context: CommandContext,
): Promise<ScanResult> {
  let end: bigint | undefined
  for (const backup of backups) {
    const stop = parseLsn(backup.stop.lsn)
    const path = pathTo(tree, { timeline: backup.stop.timeline, lsn: stop }, timeline)
    if (!path) continue
    const until = end
    const { segments } = await segmentsOfPath(storage, cluster, path, {
      ...(until !== undefined && { end: until }),
      signal: context.signal,
    })
    const inRange = (event: TransactionEvent): boolean =>
      event.lsn >= stop && (until === undefined || event.lsn < until) && matches(target, event)
    const found = new Map<bigint, TransactionEvent>()
    const names = segments.map(({ name }) => name)
    const scan = scanTransactions(storage, cluster, names, inRange, {
      onProgress: (done, total) => context.report({ type: 'wal-scanned', backup: backup.id, done, total }),
      signal: context.signal,
    })
    for await (const event of scan) found.set(event.lsn, event)
    const [event, ...more] = found.values()
    if (event && more.length === 0) return { backup, found: event }
    if (event) throw ambiguous(target, [...found.keys()])
    end = stop
  }
  throw new UnreachableTargetError(
    `${formatTarget(target)} is nowhere in the WAL that follows ${backups.length === 1 ? `backup ${backups[0]?.id}` : 'any backup'}`,
  )
}

function matches(target: ScanTarget, event: TransactionEvent): boolean {
  if (target.kind === 'name') return event.kind === 'restore-point' && event.name === target.name
  return event.kind !== 'restore-point' && event.xid === target.xid
}

function ambiguous(target: ScanTarget, lsns: readonly bigint[]): UnreachableTargetError {
  const places = [...lsns].sort((a, b) => (a < b ? -1 : 1)).map(formatLsn)
  return new UnreachableTargetError(
    `${formatTarget(target)} is in the WAL ${lsns.length} times, at ${places.join(', ')}: recovery would stop at the first`,
    'Name the one that is meant with --target-lsn.',
  )
}
