/**
 * Looks into the segment in which a timeline was left. When it is stored whole, its name says nothing: a cluster that was
 * lost leaves it so, with half a record at its end, and so does one that went on while a copy of it was recovered to an
 * earlier instant. A commit behind the switch tells them apart: it is on the old timeline only.
 */
import { NotFoundError, ToolError } from '../errors.js'
import type { Lsn } from '../postgres/lsn.js'
import type { TimelineHistory } from '../postgres/timeline.js'
import { segmentNumberAt } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import type { WalEnd } from './wal-map.js'
import { scanTransactions } from './wal-search.js'

/** Behind every LSN: a segment that cannot be read may hold commits, and nobody may be told that it does not. */
const ANYWHERE: Lsn = (1n << 64n) - 1n

/** Adds to the ends of timelines where the last commit of a last segment is, wherever a switch lies in that segment. */
export async function readForkSegments(
  storage: Storage,
  cluster: ClusterIdentity,
  histories: Iterable<TimelineHistory | undefined>,
  ends: ReadonlyMap<number, WalEnd | undefined>,
  signal?: AbortSignal,
): Promise<void> {
  const switches = [...histories].flatMap((history) => history?.entries ?? [])
  for (const [timeline, end] of ends) {
    if (!end || end.hasPartial) continue
    const isForked = switches.some(
      (entry) =>
        entry.timeline === timeline && segmentNumberAt(entry.switchLsn, cluster.walSegmentSize) === end.last.number,
    )
    if (isForked) end.lastCommit = await lastCommitIn(storage, cluster, end.last.name, signal)
  }
}

async function lastCommitIn(
  storage: Storage,
  cluster: ClusterIdentity,
  segment: string,
  signal?: AbortSignal,
): Promise<Lsn | undefined> {
  let last: Lsn | undefined
  try {
    const commits = scanTransactions(storage, cluster, [segment], ({ kind }) => kind === 'commit', { signal })
    for await (const { lsn } of commits) if (last === undefined || lsn > last) last = lsn
    return last
  } catch (error) {
    if (error instanceof NotFoundError || (error instanceof ToolError && error.code === 'damaged')) return ANYWHERE
    throw error
  }
}
