/**
 * What a restore uses, decided from what the archive holds before a byte is written: the backup, the timeline, the WAL in
 * between, and whether all that leads to the target (I1–I4, I8–I11).
 */
import { ToolError } from '../errors.js'
import { parseLsn } from '../postgres/lsn.js'
import { formatTarget, formatTimestamp, timestampOf, type RecoveryTarget } from '../postgres/recovery-target.js'
import { segmentNames } from '../postgres/wal-segment.js'
import type { TransactionEvent } from '../postgres/wal-transactions.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { findBackup, listBackups } from '../repository/catalog.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { pathTo, readTimelineTree, type PathStep, type TimelineTree } from '../repository/timeline-tree.js'
import { requireWalRange } from '../repository/wal-range.js'
import type { Storage } from '../storage/storage.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { findRecoveryWal, type RecoveryWal } from './recovery-reach.js'
import { scanForTarget } from './recovery-scan.js'
import { chooseTimeline, type EndTimeline, type TimelineRequest } from './recovery-timeline.js'
import { UnreachableTargetError } from './unreachable-target.js'

/** What is asked for. */
export interface RecoveryRequest extends TimelineRequest {
  /** An id, the unique beginning of one, or a label. Undefined or `latest`: the newest that fits. */
  backup: string | undefined
  /** Look for an xid or a name in the WAL. */
  scan: boolean
  /** Read the end of the WAL also where nothing depends on it, to say what recovery will reach. */
  describeEnd: boolean
}

/** What was decided. */
export interface RecoveryPlan {
  cluster: ClusterIdentity
  backup: BackupRecord
  target: RecoveryTarget
  /** The timeline that recovery ends on. */
  timeline: number
  /** What PostgreSQL would take for the latest: it counts up until a history file is missing (findNewestTimeLine()). */
  latest: number
  /** From the backup's start. */
  path: PathStep[]
  wal: RecoveryWal
  /** What a scan has found. */
  found: TransactionEvent | undefined
}

/** Decides. Rejects with UnreachableTargetError where the target cannot be reached, and says what can. */
export async function planRecovery(
  storage: Storage,
  cluster: ClusterIdentity,
  request: RecoveryRequest,
  context: CommandContext,
): Promise<RecoveryPlan> {
  const { target } = request
  const { signal } = context
  const backups = await candidates(storage, cluster, request, context)
  const tree = await readTimelineTree(storage, cluster, signal)
  for (const { timeline, error } of tree.unreadable) {
    context.report({ type: 'warning', message: `timeline ${timeline} is passed over: ${error.message}` })
  }
  const endOf = await chooseTimeline(storage, cluster, tree, backups, request, context)
  const onTheWay = backupsTo(tree, backups, endOf)
  const chosen = await choose(storage, cluster, tree, onTheWay, request, endOf, context)
  const { backup } = chosen
  const timeline = endOf(backup) ?? backup.stop.timeline
  const path = pathFrom(tree, backup, timeline)
  await requireWal(storage, backup, signal)
  const stopLsn = parseLsn(backup.stop.lsn)
  const { describeEnd } = request
  const wal = await findRecoveryWal(storage, cluster, path, target, { stopLsn, describeEnd, signal })
  return { cluster, backup, target, timeline, latest: latestFrom(tree, backup), path, wal, found: chosen.found }
}

async function candidates(
  storage: Storage,
  cluster: ClusterIdentity,
  request: RecoveryRequest,
  context: CommandContext,
): Promise<BackupRecord[]> {
  const passedOver = warnOfUnreadable(context)
  if (request.backup !== undefined && request.backup !== 'latest')
    return [await findBackup(storage, cluster.name, request.backup, passedOver, context.signal)]
  const backups = await listBackups(storage, cluster.name, passedOver, context.signal)
  // says that there is none, in its own words
  return backups.length > 0 ? backups : [await findBackup(storage, cluster.name, 'latest', passedOver, context.signal)]
}

/** Those from which the timeline can be reached, newest first: along one path the LSN says what came later (I1, I9). */
function backupsTo(tree: TimelineTree, backups: readonly BackupRecord[], endOf: EndTimeline): BackupRecord[] {
  const fitting = backups.filter((backup) => {
    const timeline = endOf(backup)
    const { stop } = backup
    if (timeline === undefined) return false
    if (timeline === stop.timeline) return true
    return pathTo(tree, { timeline: stop.timeline, lsn: parseLsn(stop.lsn) }, timeline) !== undefined
  })
  if (fitting.length === 0) {
    const [first] = backups
    const timeline = first && endOf(first)
    const which = backups.length === 1 ? `backup ${first?.id} is` : `none of the ${backups.length} backups is`
    const theirs = [...new Set(backups.map(({ stop }) => stop.timeline))].sort((a, b) => a - b).join(', ')
    throw new UnreachableTargetError(
      `timeline ${timeline} cannot be reached: ${which} on it, or on a timeline that it left later`,
      `Backups are on timeline ${theirs}. See "pgsluice wal list".`,
    )
  }
  return fitting.sort((a, b) => {
    const order = parseLsn(b.stop.lsn) - parseLsn(a.stop.lsn)
    return Number(order) || Date.parse(b.stop.time) - Date.parse(a.stop.time)
  })
}

async function choose(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  backups: readonly BackupRecord[],
  request: RecoveryRequest,
  endOf: EndTimeline,
  context: CommandContext,
): Promise<{ backup: BackupRecord; found?: TransactionEvent }> {
  const { target } = request
  const [newest] = backups
  if (!newest) throw new Error('no backup to choose from')
  if (target.kind === 'xid' || target.kind === 'name') {
    if (request.scan) {
      const timeline = endOf(newest) ?? newest.stop.timeline
      return scanForTarget(storage, cluster, tree, backups, { target, timeline }, context)
    }
    if (request.backup !== undefined && request.backup !== 'latest') return { backup: newest }
    throw new ToolError('usage', `no backup is known to lie before ${formatTarget(target)}`, {
      hint: 'Name a backup that was finished before it, or give --scan to look for it in the WAL.',
    })
  }
  const fitting = backups.find((backup) => isBefore(backup, target))
  if (fitting) return { backup: fitting }
  throw tooEarly(backups, target)
}

/** Whether recovery from a backup is consistent before it gets to the target (I1, I2). */
function isBefore({ stop }: BackupRecord, target: RecoveryTarget): boolean {
  if (target.kind === 'time') return timestampOf(new Date(stop.time)) < target.microseconds
  if (target.kind === 'lsn') return parseLsn(stop.lsn) <= target.lsn
  return true
}

function tooEarly(backups: readonly BackupRecord[], target: RecoveryTarget): UnreachableTargetError {
  const oldest = backups.at(-1)
  const inside = backups.find(({ start, stop }) => {
    if (target.kind === 'time')
      return (
        target.microseconds >= timestampOf(new Date(start.time)) &&
        target.microseconds <= timestampOf(new Date(stop.time))
      )
    return target.kind === 'lsn' && target.lsn >= parseLsn(start.lsn) && target.lsn < parseLsn(stop.lsn)
  })
  const possible = (backup: BackupRecord): string =>
    target.kind === 'lsn'
      ? `From ${backup.stop.lsn} on any LSN can be reached.`
      : `Any time after ${formatTimestamp(timestampOf(new Date(backup.stop.time)))} can be reached.`
  const hint = oldest && possible(oldest)
  if (inside) {
    return new UnreachableTargetError(
      `${formatTarget(target)} lies inside backup ${inside.id}, which is consistent only from its end on, and no older backup leads there`,
      hint,
    )
  }
  const which = backups.length === 1 ? `backup ${oldest?.id} ended` : 'the oldest backup ended'
  return new UnreachableTargetError(`${formatTarget(target)} is before ${which}`, hint)
}

/** The path that recovery takes, from the first record that it replays. */
function pathFrom(tree: TimelineTree, { start, stop }: BackupRecord, timeline: number): PathStep[] {
  const from = { timeline: start.timeline, lsn: parseLsn(start.lsn) }
  const path = pathTo(tree, from, timeline)
  if (path) return path
  // a timeline that the archive knows nothing of but the backup itself
  if (timeline === stop.timeline) return [{ timeline, from: from.lsn, to: undefined }]
  throw new Error(`no path to timeline ${timeline}`)
}

function latestFrom(tree: TimelineTree, { stop }: BackupRecord): number {
  let latest = stop.timeline
  while (tree.nodes.get(latest + 1)?.history) latest++
  return latest
}

/** Without all WAL from its start to its stop the backup never becomes consistent (I11). */
async function requireWal(
  storage: Storage,
  { cluster, start, stop, walSegmentSize }: BackupRecord,
  signal: AbortSignal,
): Promise<void> {
  const segments = segmentNames(start.timeline, parseLsn(start.lsn), parseLsn(stop.lsn), walSegmentSize)
  await requireWalRange(storage, cluster, { timeline: start.timeline, segments, signal })
}
