/**
 * Which timeline a restored server recovers along. `latest` would follow whatever history files the archive has, also
 * those of a branch that left the backup's timeline before the backup ended: the server then never starts (I9). And where
 * two timelines have WAL after their fork, "latest" has no meaning: what is chosen is then named (format rule 9).
 */
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import { isAncestor, switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { parseWalFileName, segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { walFileNameOf, walKey, walTimelinePrefix } from '../repository/layout.js'
import { listHistories, readHistory, type HistoryFile } from '../repository/wal-histories.js'
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
  const newer = await listHistories(storage, record.cluster, own, signal)
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
  while (newer.some(({ timeline }) => timeline === latest + 1)) latest++
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

/** One that cannot be read is as good as none: the timelines that can be are enough to restore. */
async function readHistories(
  storage: Storage,
  cluster: string,
  files: readonly HistoryFile[],
  { signal, report }: CommandContext,
): Promise<TimelineHistory[]> {
  const histories: TimelineHistory[] = []
  for (const file of files) {
    try {
      histories.push(await readHistory(storage, cluster, file, signal))
    } catch (error) {
      if (!(error instanceof ToolError && error.code === 'damaged')) throw error
      report({ type: 'warning', message: `timeline ${file.timeline} is passed over: ${error.message}` })
    }
  }
  return histories
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
