/**
 * Which backups stay, and why. Pure: the same answer for the dry run and for the deed (D7).
 *
 * A backup is kept if any policy keeps it, or if it must never go: the newest good one (D2), the newest good one from which
 * a timeline that is still archived can be recovered, and those that are pinned. What is not good (a failed verify, page
 * errors that nobody has acknowledged) counts for no policy and displaces nothing (D12).
 */
import { parseLsn, type Lsn } from '../postgres/lsn.js'
import { isAncestor, type TimelineHistory } from '../postgres/timeline.js'
import type { BackupRecord } from './backup-record.js'
import { newestOfPeriods, type Period } from './retention-periods.js'

/** How many backups stay, and how long. What is undefined keeps none. */
export interface RetentionPolicy {
  keepFull?: number
  keepDays?: number
  keepHourly?: number
  keepDaily?: number
  keepWeekly?: number
  keepMonthly?: number
  keepYearly?: number
  maxSizeBytes?: number
}

/** The part of a record that decides. */
export type RetainedBackup = Pick<BackupRecord, 'id' | 'label' | 'start' | 'stop' | 'objects' | 'totals'>

/** A timeline where WAL goes on that no newer one continues. */
export interface ArchivedHead {
  timeline: number
  /** When its last whole segment was stored, by the store's clock; undefined: it has none yet. */
  lastStored: Date | undefined
}

/** Everything that decides about backups. */
export interface BackupsInput {
  policy: RetentionPolicy
  /** By the store's clock. */
  now: Date
  /** Records that can be read. */
  backups: readonly RetainedBackup[]
  pinned: ReadonlySet<string>
  unclean: ReadonlySet<string>
  /** Backups that must stay, with the reason: the store would not let their record go. */
  stuck: ReadonlyMap<string, string>
  heads: readonly ArchivedHead[]
  histories: ReadonlyMap<number, TimelineHistory>
}

/** What becomes of one backup. */
export interface BackupDecision {
  backup: RetainedBackup
  isKept: boolean
  /** Everything that keeps it, or why it expires. */
  reasons: string[]
  /** Recovery goes on from it: all WAL behind it is kept, too, not only its own. */
  isRecoverable: boolean
}

const DAY_MS = 86_400_000

const PERIODS: readonly (readonly [Period, keyof RetentionPolicy])[] = [
  ['hour', 'keepHourly'],
  ['day', 'keepDaily'],
  ['week', 'keepWeekly'],
  ['month', 'keepMonthly'],
  ['year', 'keepYearly'],
]

/** Decides about every backup; oldest first. */
export function decideBackups(input: BackupsInput): BackupDecision[] {
  const { policy, now, unclean } = input
  const sorted = [...input.backups].sort(byStopTime)
  const clean = sorted.filter(({ id }) => !unclean.has(id))
  const decisions = new Map<string, BackupDecision>(
    sorted.map((backup) => [backup.id, { backup, isKept: false, reasons: [], isRecoverable: false }]),
  )
  const keep = (backup: RetainedBackup | undefined, reason: string, isRecoverable: boolean): void => {
    const decision = backup && decisions.get(backup.id)
    if (!decision) return
    decision.isKept = true
    decision.isRecoverable ||= isRecoverable
    if (!decision.reasons.includes(reason)) decision.reasons.push(reason)
  }
  const newestFor = (timeline: number, before: number): RetainedBackup | undefined =>
    clean.findLast((backup) => stopTime(backup) < before && isOnPath(backup, timeline, input.histories))

  // without a recovery window that anybody has asked for, all WAL from the oldest of them on is kept
  const isWindowOpen = policy.keepFull === undefined && policy.keepDays === undefined
  if (policy.keepFull !== undefined)
    for (const backup of clean.slice(-policy.keepFull)) keep(backup, newestReason(policy.keepFull), true)
  if (policy.keepDays !== undefined) {
    const { keepDays } = policy
    const edge = now.getTime() - keepDays * DAY_MS
    const days = keepDays === 1 ? 'day' : `${keepDays} days`
    for (const backup of clean) if (stopTime(backup) >= edge) keep(backup, `of the last ${days}`, true)
    // D2: the window begins in the middle of what these cover
    const reason = `the newest before the last ${days}`
    keep(
      clean.findLast((backup) => stopTime(backup) < edge),
      reason,
      true,
    )
    for (const { timeline, lastStored } of input.heads)
      if (lastStored === undefined || lastStored.getTime() >= edge) keep(newestFor(timeline, edge), reason, true)
  }
  for (const [period, name] of PERIODS) {
    const count = policy[name]
    if (count === undefined) continue
    for (const backup of newestOfPeriods(clean, ({ stop }) => new Date(stop.time), period, count))
      keep(backup, `the newest of its ${period}`, isWindowOpen)
  }
  if (policy.maxSizeBytes !== undefined)
    for (const backup of fitting(sorted, policy.maxSizeBytes))
      if (!unclean.has(backup.id)) keep(backup, 'within the size', isWindowOpen)

  keep(clean.at(-1), 'the newest good backup', true)
  keepForHeads(input, decisions, newestFor, keep)
  keepUnclean(sorted, unclean, decisions, keep)
  for (const backup of sorted) {
    if (input.pinned.has(backup.id)) keep(backup, 'pinned', false)
    const reason = input.stuck.get(backup.id)
    if (reason !== undefined) keep(backup, reason, false)
  }
  for (const { isKept, reasons, backup } of decisions.values())
    if (!isKept) reasons.push(unclean.has(backup.id) ? 'not good, and older than what is kept' : 'kept by no policy')
  return [...decisions.values()]
}

/**
 * Where WAL goes on in two places (format rule 9), the newest backups may all be of one of them. The other one loses its
 * last only when nothing has been archived there for a day, nor since the oldest backup that recovery goes on from.
 */
function keepForHeads(
  { now, heads }: BackupsInput,
  decisions: ReadonlyMap<string, BackupDecision>,
  newestFor: (timeline: number, before: number) => RetainedBackup | undefined,
  keep: (backup: RetainedBackup | undefined, reason: string, isRecoverable: boolean) => void,
): void {
  const oldest = oldestRecoverable(decisions)
  const limit = Math.min(now.getTime() - DAY_MS, oldest ? stopTime(oldest) : Infinity)
  for (const { timeline, lastStored } of heads)
    if (lastStored === undefined || lastStored.getTime() >= limit)
      keep(newestFor(timeline, Infinity), `the newest good one for timeline ${timeline}`, true)
}

/** D12: they stay beside the good ones that are no newer, and alone where there is no good one. */
function keepUnclean(
  sorted: readonly RetainedBackup[],
  unclean: ReadonlySet<string>,
  decisions: ReadonlyMap<string, BackupDecision>,
  keep: (backup: RetainedBackup, reason: string, isRecoverable: boolean) => void,
): void {
  const oldest = oldestRecoverable(decisions)
  for (const backup of sorted) {
    if (!unclean.has(backup.id)) continue
    if (!oldest) keep(backup, 'not good, but there is no good one', true)
    else if (stopTime(backup) > stopTime(oldest)) keep(backup, 'not good, but no older than what is kept', false)
  }
}

function oldestRecoverable(decisions: ReadonlyMap<string, BackupDecision>): RetainedBackup | undefined {
  return [...decisions.values()].find(({ isRecoverable }) => isRecoverable)?.backup
}

/** Whether recovery from a backup gets to `timeline` (I1, I9). */
function isOnPath(
  { stop }: RetainedBackup,
  timeline: number,
  histories: ReadonlyMap<number, TimelineHistory>,
): boolean {
  const history = histories.get(timeline) ?? { timeline, entries: [] }
  return isAncestor(history, stop.timeline, lsnOf(stop))
}

function* fitting(sorted: readonly RetainedBackup[], bytes: number): Generator<RetainedBackup> {
  let left = bytes
  for (const backup of sorted.toReversed()) {
    left -= backup.objects.bytes
    if (left < 0) return
    yield backup
  }
}

function newestReason(count: number): string {
  return count === 1 ? 'the newest' : `of the newest ${count}`
}

function lsnOf({ lsn }: { lsn: string }): Lsn {
  return parseLsn(lsn)
}

function stopTime({ stop }: RetainedBackup): number {
  return Date.parse(stop.time)
}

/** By the server's clock; ids only break a tie (D4: neither timelines nor names say what is newer). */
function byStopTime(a: RetainedBackup, b: RetainedBackup): number {
  return stopTime(a) - stopTime(b) || (a.id < b.id ? -1 : 1)
}
