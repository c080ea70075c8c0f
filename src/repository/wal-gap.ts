/**
 * Tells a hole in the archive from its end (G2, G6, I10). PostgreSQL takes "not there" for the end of WAL and promotes,
 * so a file that must have existed, as what is stored says, is missing, not absent.
 */
import { createHash } from 'node:crypto'
import { NotFoundError, ToolError } from '../errors.js'
import { formatLsn } from '../postgres/lsn.js'
import { parseTimelineHistory, switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { parseWalFileName, segmentNumberAt, segmentNumberOf, type WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
import { openWalObject } from './wal-object-read.js'

const PARALLEL_READS = 8
type HistoryFile = Extract<WalFile, { kind: 'history' }>

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
    const histories = await Promise.all(batch.map((file) => readHistory(storage, cluster.name, file, signal)))
    for (const [index, history] of histories.entries()) {
      const switchLsn = history && switchLsnOf(history, timeline)
      if (switchLsn === undefined || !proves(switchLsn)) continue
      return `"${batch[index]?.name}" says that timeline ${timeline} went on to ${formatLsn(switchLsn)}`
    }
  }
  return undefined
}

/** Stored history files of timelines after `timeline`. Skips over the folders of segments: a request each, not a page for each thousand of segments (G8). */
async function listHistories(
  storage: Storage,
  cluster: string,
  timeline: number,
  signal?: AbortSignal,
): Promise<HistoryFile[]> {
  const folder = walTimelinePrefix(cluster, timeline)
  const prefix = folder.slice(0, -'00000000/'.length)
  const found: HistoryFile[] = []
  let startAfter: string | undefined = behind(folder)
  while (startAfter !== undefined) {
    const keys = storage.list(prefix, { startAfter, signal })
    startAfter = undefined
    for await (const { key } of keys) {
      const file = parseWalFileName(walFileNameOf(key) ?? '')
      if (file?.kind === 'history') {
        if (file.timeline > timeline) found.push(file)
        continue
      }
      const slash = key.indexOf('/', prefix.length)
      if (slash < 0) continue
      startAfter = behind(key.slice(0, slash + 1))
      break
    }
  }
  return found
}

/** What sorts behind everything in a folder: '0' follows '/'. */
function behind(folder: string): string {
  return `${folder.slice(0, -1)}0`
}

/** A history file, verified like everything that is fetched (G3); undefined where it is gone by now. */
async function readHistory(
  storage: Storage,
  cluster: string,
  file: HistoryFile,
  signal?: AbortSignal,
): Promise<TimelineHistory | undefined> {
  const key = walKey(cluster, file)
  try {
    const { head, body } = await openWalObject(storage, key, signal)
    try {
      const pieces: Buffer[] = []
      // a copy: the buffer behind a piece is filled again
      for await (const bytes of body.contents()) pieces.push(Buffer.from(bytes))
      const text = Buffer.concat(pieces)
      if (head.name !== file.name || createHash('sha256').update(text).digest('hex') !== head.sha256)
        throw new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
      return parseTimelineHistory(text.toString('utf8'), file.timeline)
    } finally {
      body.destroy()
    }
  } catch (error) {
    if (error instanceof NotFoundError) return undefined
    throw error
  }
}
