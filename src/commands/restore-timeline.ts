/**
 * Which timeline a restored server recovers along. `latest` would follow whatever history files the archive has, also
 * those of a branch that left the backup's timeline before the backup ended: the server then never starts (I9). And where
 * two timelines have WAL after their fork, "latest" has no meaning: what is chosen is then named (format rule 9).
 */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import { isAncestor, parseTimelineHistory, switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { parseWalFileName, segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { walFileNameOf, walKey, walTimelinePrefix } from '../repository/layout.js'
import { openWalObject } from '../repository/wal-object-read.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'

/** For recovery_target_timeline; warns where it is not the only one that could be meant. */
export async function chooseTimeline(
  storage: Storage,
  record: BackupRecord,
  context: CommandContext,
): Promise<'latest' | number> {
  const { signal, report } = context
  const own = record.stop.timeline
  const stop = parseLsn(record.stop.lsn)
  const newer = (await listHistories(storage, record.cluster, signal)).filter((timeline) => timeline > own)
  const histories = await readHistories(storage, record.cluster, newer, context)
  const descendants = histories.filter((history) => isAncestor(history, own, stop))
  const chosen = descendants.at(-1) ?? { timeline: own, entries: [] }
  const heads: string[] = []
  for (const history of histories) {
    if (history === chosen || switchLsnOf(chosen, history.timeline) !== undefined) continue
    if (!descendants.includes(history)) heads.push(`timeline ${history.timeline}, which does not hold this backup`)
    else if (await hasWal(storage, record, history.timeline)) heads.push(`timeline ${history.timeline}`)
  }
  for (const { timeline, switchLsn } of chosen.entries) {
    if (timeline < own || !(await hasWal(storage, record, timeline, switchLsn))) continue
    heads.push(
      `timeline ${timeline}, which has WAL after timeline ${nextOf(chosen, timeline)} left it at ${formatLsn(switchLsn)}`,
    )
  }
  // as the server finds the latest: by counting up until a history file is missing
  let latest = own
  while (newer.includes(latest + 1)) latest++
  if (heads.length === 0) return latest === chosen.timeline ? 'latest' : chosen.timeline
  report({
    type: 'warning',
    message: `recovery will follow timeline ${chosen.timeline}; the archive also has ${heads.join('; ')}`,
    hint: 'Where another is meant, set recovery_target_timeline in postgresql.auto.conf before the server starts.',
  })
  return chosen.timeline
}

function nextOf(history: TimelineHistory, timeline: number): number {
  return history.entries.find((entry) => entry.timeline > timeline)?.timeline ?? history.timeline
}

/** Timelines whose history file is in the archive, ascending. */
async function listHistories(storage: Storage, cluster: string, signal: AbortSignal): Promise<number[]> {
  const timelines: number[] = []
  const prefix = walTimelinePrefix(cluster, 0).replace(/[^/]+\/$/, '')
  for (let startAfter = prefix; ;) {
    let key: string | undefined
    // one request each: the segments of a timeline, which may be a million, are stepped over
    for await (const object of storage.list(prefix, { startAfter, signal })) {
      key = object.key
      break
    }
    if (key === undefined) return timelines
    const file = parseWalFileName(walFileNameOf(key) ?? '')
    if (file?.kind === 'history') timelines.push(file.timeline)
    const folder = /^[^/]+\//.exec(key.slice(prefix.length))?.[0]
    startAfter = folder === undefined ? key : `${prefix}${folder}~`
  }
}

/** One that cannot be read is as good as none: the timelines that can be are enough to restore. */
async function readHistories(
  storage: Storage,
  cluster: string,
  timelines: readonly number[],
  { signal, report }: CommandContext,
): Promise<TimelineHistory[]> {
  const histories: TimelineHistory[] = []
  for (const timeline of timelines) {
    try {
      histories.push(await readHistory(storage, cluster, timeline, signal))
    } catch (error) {
      if (!(error instanceof ToolError && error.code === 'damaged')) throw error
      report({ type: 'warning', message: `timeline ${timeline} is passed over: ${error.message}` })
    }
  }
  return histories
}

async function readHistory(
  storage: Storage,
  cluster: string,
  timeline: number,
  signal: AbortSignal,
): Promise<TimelineHistory> {
  const name = `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`
  const key = walKey(cluster, { kind: 'history', name, timeline })
  const { head, body } = await openWalObject(storage, key, signal)
  const pieces: Buffer[] = []
  try {
    for await (const piece of body.contents()) pieces.push(Buffer.from(piece))
  } finally {
    body.destroy()
  }
  const text = Buffer.concat(pieces)
  if (head.name !== name || createHash('sha256').update(text).digest('hex') !== head.sha256)
    throw new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
  return parseTimelineHistory(text.toString(), timeline)
}

/** Whether a timeline has a whole segment, from the one that holds `from` on. */
async function hasWal(storage: Storage, record: BackupRecord, timeline: number, from = 0n): Promise<boolean> {
  const { cluster, walSegmentSize } = record
  const file = parseWalFileName(segmentName(timeline, segmentNumberAt(from, walSegmentSize), walSegmentSize))
  const startAfter = file && walKey(cluster, file).slice(0, -'.zst'.length)
  const options = startAfter === undefined ? {} : { startAfter }
  for await (const { key } of storage.list(walTimelinePrefix(cluster, timeline), options)) {
    if (parseWalFileName(walFileNameOf(key) ?? '')?.kind === 'segment') return true
  }
  return false
}
