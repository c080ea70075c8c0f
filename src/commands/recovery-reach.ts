/**
 * Whether the WAL of the archive leads from a backup to a target. PostgreSQL finds out by replaying all of it, and then
 * ends with "recovery ended before configured recovery target was reached" (I4) or at a hole (I11); here it is known first.
 */
import { formatLsn } from '../postgres/lsn.js'
import { formatTarget, formatTimestamp, type RecoveryTarget } from '../postgres/recovery-target.js'
import { parseWalFileName, segmentNumberAt, segmentNumberOf } from '../postgres/wal-segment.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { segmentsOfPath, type PathGap, type PathStep } from '../repository/timeline-tree.js'
import type { StoredSegment } from '../repository/wal-map.js'
import { lookUntilFilled } from '../repository/wal-on-the-way.js'
import { findLastTransaction, type LastTransaction } from '../repository/wal-search.js'
import type { Storage } from '../storage/storage.js'
import { UnreachableTargetError } from './unreachable-target.js'

/** Segments read to say when the archive ends, where nothing depends on it. */
const READ_AT_MOST = 8

/** The WAL that a recovery replays. */
export interface RecoveryWal {
  /** From the backup's start to the end of the archive, or to the first gap. */
  segments: StoredSegment[]
  /** What ends it before the archive does; the target lies before. */
  gap: PathGap | undefined
  /** The last that recovery could reach. Not read where the target is at hand without it. */
  last: LastTransaction | undefined
}

/** Reads what is needed to know. Rejects with UnreachableTargetError, which says what is possible instead. */
export async function findRecoveryWal(
  storage: Storage,
  cluster: ClusterIdentity,
  path: readonly PathStep[],
  target: RecoveryTarget,
  options: { stopLsn: bigint; describeEnd: boolean; signal: AbortSignal },
): Promise<RecoveryWal> {
  const { stopLsn, describeEnd, signal } = options
  const end = target.kind === 'immediate' ? { end: stopLsn } : {}
  const { segments: stored, firstGap: gap } = await lookUntilFilled(
    storage,
    cluster,
    () => segmentsOfPath(storage, cluster, path, { ...end, signal }),
    { gapsOf: ({ firstGap }) => [firstGap && mayMatter(target, firstGap, cluster) ? firstGap : undefined], signal },
  )
  const segments = gap ? stored.slice(0, stored.findIndex(({ name }) => name === gap.before) + 1) : stored
  const wal: RecoveryWal = { segments, gap, last: undefined }
  const isKnown = target.kind !== 'time' && target.kind !== 'lsn'
  if (isKnown && !describeEnd && isReached(target, wal)) return wal
  const names = segments.map(({ name }) => name)
  // a transaction may be as long as all of the WAL: where a commit decides, it is looked for until it is found
  const most = target.kind === 'time' ? names.length : READ_AT_MOST
  wal.last = await findLastTransaction(storage, cluster, names, { most, signal })
  if (isReached(target, wal)) return wal
  if (gap) {
    const reached = lastOf(wal.last)
    const why = gap.isBehindStored ? `"${gap.behind}" behind it is there` : 'the timeline goes on'
    throw new UnreachableTargetError(
      `WAL segment "${gap.missing}" is missing from the archive, and ${why}: recovery would stop at that gap`,
      reached &&
        `Before it recovery can go as far as --target-lsn ${reached.lsn}${reached.time === undefined ? '' : `, or any time before ${reached.time}`}.`,
    )
  }
  throw beyondEnd(target, wal.last)
}

/** Whether the target may lie behind the gap; before what is behind it was read, nobody knows that of a time. */
function mayMatter(target: RecoveryTarget, { missing }: PathGap, { walSegmentSize }: ClusterIdentity): boolean {
  const file = parseWalFileName(missing)
  if (target.kind === 'end-of-archive' || target.kind === 'time') return true
  return (
    target.kind === 'lsn' &&
    file?.kind === 'segment' &&
    segmentNumberAt(target.lsn, walSegmentSize) >= segmentNumberOf(file, walSegmentSize)
  )
}

function isReached(target: RecoveryTarget, { gap, last }: RecoveryWal): boolean {
  switch (target.kind) {
    case 'end-of-archive':
      return gap === undefined
    case 'time': {
      // as recoveryStopsBefore(): the first commit or abort that is past the target ends recovery
      const newest = last?.event?.microseconds
      if (newest === undefined) return false
      return target.inclusive ? newest > target.microseconds : newest >= target.microseconds
    }
    case 'lsn':
      // as recoveryStopsBefore() and recoveryStopsAfter(): a record that begins there or later
      return last?.lastRecord !== undefined && last.lastRecord.lsn >= target.lsn
    default:
      // `immediate` needs no more than the backup's own; a scan has found the others, or nobody knows
      return true
  }
}

function beyondEnd(target: RecoveryTarget, last: LastTransaction | undefined): UnreachableTargetError {
  const reached = lastOf(last)
  const what = `${formatTarget(target)} is after the end of the archive`
  if (!reached) return new UnreachableTargetError(`${what}: no record follows the backup`)
  const said =
    target.kind === 'time'
      ? reached.time === undefined
        ? 'no commit follows the backup'
        : `its last commit is at ${reached.time}`
      : `its last record is at ${reached.lsn}`
  return new UnreachableTargetError(
    `${what}: ${said}`,
    'Without a target recovery goes to the end of the archive. The server may still have newer WAL to archive: see "pgsluice status".',
  )
}

function lastOf(last: LastTransaction | undefined): { lsn: string; time: string | undefined } | undefined {
  if (!last?.lastRecord) return undefined
  return { lsn: formatLsn(last.lastRecord.lsn), time: last.event && formatTimestamp(last.event.microseconds) }
}
