/**
 * Tells a hole in the archive from its end (G2, G6, I10). PostgreSQL takes "not there" for the end of WAL and promotes,
 * so a file that must have existed, as what is stored says, is missing, not absent.
 */
import { NotFoundError } from '../errors.js'
import { formatLsn } from '../postgres/lsn.js'
import { switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { parseWalFileName, segmentNumberAt, segmentNumberOf, type WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
import { listHistories, readHistory, type HistoryFile } from './wal-histories.js'

const PARALLEL_READS = 8

/** What proves that a file which is not stored did exist, in words; undefined where nothing does. */
export async function findGapEvidence(
  storage: Storage,
  cluster: ClusterIdentity,
  file: WalFile,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (file.kind === 'history') {
    return (
      (await laterFile(storage, cluster, file.timeline, walTimelinePrefix(cluster.name, file.timeline), signal)) ??
      (await laterHistory(storage, cluster, file.timeline, () => true, signal))
    )
  }
  if (file.kind !== 'segment') return undefined
  const number = segmentNumberOf(file, cluster.walSegmentSize)
  return (
    (await laterFile(storage, cluster, file.timeline, walKey(cluster.name, file), signal)) ??
    // The segment with the switch itself may exist on the new timeline only, or as .partial: no proof.
    (await laterHistory(
      storage,
      cluster,
      file.timeline,
      (lsn) => number < segmentNumberAt(lsn, cluster.walSegmentSize),
      signal,
    ))
  )
}

/** A WAL file of this timeline behind `startAfter`. A .partial or .backup of a later segment proves as much as the segment. */
async function laterFile(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  startAfter: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  for await (const { key } of storage.list(walTimelinePrefix(cluster.name, timeline), { startAfter, signal })) {
    const name = walFileNameOf(key)
    if (name !== undefined && parseWalFileName(name)) return `"${name}" is there`
  }
  return undefined
}

/** A later timeline that passed through this one, and left it where `proves` says that the file must have existed. */
async function laterHistory(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  proves: (switchLsn: bigint) => boolean,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const files = await listHistories(storage, cluster.name, timeline, signal)
  for (let at = 0; at < files.length; at += PARALLEL_READS) {
    const batch = files.slice(at, at + PARALLEL_READS)
    const histories = await Promise.all(batch.map((file) => readIfThere(storage, cluster.name, file, signal)))
    for (const [index, history] of histories.entries()) {
      const switchLsn = history && switchLsnOf(history, timeline)
      if (switchLsn === undefined || !proves(switchLsn)) continue
      return `"${batch[index]?.name}" says that timeline ${timeline} went on to ${formatLsn(switchLsn)}`
    }
  }
  return undefined
}

async function readIfThere(
  storage: Storage,
  cluster: string,
  file: HistoryFile,
  signal?: AbortSignal,
): Promise<TimelineHistory | undefined> {
  try {
    return await readHistory(storage, cluster, file, signal)
  } catch (error) {
    if (error instanceof NotFoundError) return undefined
    throw error
  }
}
