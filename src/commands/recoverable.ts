/** Up to which instant the archive can bring a cluster back: the newest backup that is whole, and the WAL that follows it. */
import { parseLsn, type Lsn } from '../postgres/lsn.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { pathTo, segmentsOfPath, type TimelineTree } from '../repository/timeline-tree.js'
import { lookUntilFilled } from '../repository/wal-on-the-way.js'
import type { PathGap, PathStep } from '../repository/wal-path.js'
import { findLastTransaction, type LastTransaction } from '../repository/wal-search.js'
import type { Storage } from '../storage/storage.js'

/** What recovery on one timeline has to go by. */
export interface Recoverable {
  backup: BackupRecord
  /** Up to here the WAL behind the backup is in the archive without a gap. */
  archivedLsn: Lsn
  /** Name of the last segment before that. */
  lastSegment: string
  gap: PathGap | undefined
  /** The last commit or abort up to there, where there is one behind the backup. */
  last: { time: Date; lsn: Lsn } | undefined
}

/**
 * The newest of `backups` that leads to `timeline` and has all WAL of its own; undefined where there is none. Newer ones
 * whose WAL is incomplete are told to `onIncomplete`. Where it `waits`, a hole that may be about to be filled is looked at again.
 */
export async function findRecoverable(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  { backups, timeline }: { backups: readonly BackupRecord[]; timeline: number },
  { onIncomplete, waits, signal }: { onIncomplete: (id: string) => void; waits: boolean; signal: AbortSignal },
): Promise<Recoverable | undefined> {
  // along one path the LSN says which came later
  const newestFirst = [...backups].sort((a, b) => Number(parseLsn(b.stop.lsn) - parseLsn(a.stop.lsn)))
  for (const backup of newestFirst) {
    const path = pathFrom(tree, backup, timeline)
    if (!path) continue
    const look = (): ReturnType<typeof segmentsOfPath> => segmentsOfPath(storage, cluster, path, { signal })
    const { segments, firstGap: gap } = waits
      ? await lookUntilFilled(storage, cluster, look, { gapsOf: ({ firstGap }) => [firstGap], signal })
      : await look()
    const names = segments.map(({ name }) => name)
    const contiguous = gap ? names.slice(0, names.indexOf(gap.before ?? '') + 1) : names
    const lastSegment = contiguous.at(-1)
    const archivedLsn = lastSegment === undefined ? 0n : endOf(lastSegment, path, cluster.walSegmentSize)
    const stopLsn = parseLsn(backup.stop.lsn)
    if (lastSegment === undefined || archivedLsn < stopLsn) {
      onIncomplete(backup.id)
      continue
    }
    const found = await findLastTransaction(storage, cluster, contiguous, { signal })
    // what the old timeline's segment holds behind a switch is no part of this path
    const isBeyond = found.event !== undefined && found.event.lsn >= archivedLsn
    const { event } = isBeyond
      ? await findLastTransaction(storage, cluster, contiguous.slice(0, -1), { signal })
      : found
    return { backup, archivedLsn, lastSegment, gap, last: behind(event, stopLsn) }
  }
  return undefined
}

function pathFrom(tree: TimelineTree, { start, stop }: BackupRecord, timeline: number): PathStep[] | undefined {
  const from = { timeline: start.timeline, lsn: parseLsn(start.lsn) }
  // that it was still on the way at its end, not only at its start (I1)
  const isOnTheWay =
    stop.timeline === timeline || pathTo(tree, { timeline: stop.timeline, lsn: parseLsn(stop.lsn) }, timeline)
  return isOnTheWay ? pathTo(tree, from, timeline) : undefined
}

/** Where a segment ends; on a timeline that was left, no later than where it was left. */
function endOf(name: string, path: readonly PathStep[], walSegmentSize: number): Lsn {
  const file = parseWalFileName(name)
  if (file?.kind !== 'segment') throw new Error(`"${name}" is no WAL segment`)
  const end = (BigInt(file.log) << 32n) + BigInt(file.segment + 1) * BigInt(walSegmentSize)
  const left = path.find(({ timeline }) => timeline === file.timeline)?.to
  return left !== undefined && left < end ? left : end
}

function behind(event: LastTransaction['event'], stopLsn: Lsn): Recoverable['last'] {
  return event && event.lsn >= stopLsn ? { time: event.time, lsn: event.lsn } : undefined
}
