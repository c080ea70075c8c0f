/**
 * What expires and what is needed, from everything that is known of a cluster. Pure: the dry run prints what the deed then
 * carries out (D7).
 */
import { parseLsn } from '../postgres/lsn.js'
import type { TimelineHistory } from '../postgres/timeline.js'
import { decideBackups, type BackupDecision, type BackupsInput } from './retention-policy.js'
import { numberOf } from './retired.js'
import type { BackupInUse } from './runs.js'
import { WalNeeds, type OwnWal, type RecoveryStart } from './wal-needs.js'

/** Everything that decides. */
export interface RetentionInput extends BackupsInput {
  /** Backups in progress, and those that wait to be finalized. */
  inUse: readonly BackupInUse[]
  /** Backup records that cannot be read: nobody knows what WAL they need. */
  unreadableBackups: readonly string[]
  /** Timelines whose history cannot be read: nobody knows what they descend from. */
  unreadableHistories: readonly number[]
  walSegmentSize: number
}

/** What becomes of everything. */
export interface RetentionPlan {
  /** Oldest first. */
  backups: BackupDecision[]
  needs: WalNeeds
  /** Why no WAL may be deleted at all; empty as a rule. */
  walHolds: string[]
}

/** Makes the plan. */
export function planRetention(input: RetentionInput): RetentionPlan {
  const backups = decideBackups(input)
  const kept = backups.filter(({ isKept }) => isKept)
  const running = input.inUse.flatMap(({ start }): RecoveryStart[] => (start ? [{ ...start, reach: start.lsn }] : []))
  const starts = [...kept.filter(({ isRecoverable }) => isRecoverable).map(recoveryStart), ...running]
  const own = kept.flatMap((decision) => ownWal(decision, input.walSegmentSize))
  return {
    backups,
    needs: new WalNeeds(starts, own, input.histories, input.walSegmentSize),
    walHolds: [
      ...input.unreadableBackups.map((id) => `the record of backup ${id} cannot be read`),
      ...input.unreadableHistories.map((timeline) => `the history file of timeline ${timeline} cannot be read`),
      ...input.inUse
        .filter(({ start }) => start === undefined)
        .map(({ id, state }) => `where the WAL of backup ${id} begins, which is ${state}, cannot be read`),
    ],
  }
}

function recoveryStart({ backup: { start, stop } }: BackupDecision): RecoveryStart {
  // a backup that ended on another timeline than it began on has that one on its path
  const reach = stop.timeline === start.timeline ? stop : start
  return { timeline: start.timeline, lsn: parseLsn(start.lsn), reach: parseLsn(reach.lsn) }
}

/** Start to stop (D3). Of a backup that changed its timeline all that is on either: more than it needs, never less. */
function ownWal({ backup: { start, stop } }: BackupDecision, walSegmentSize: number): OwnWal[] {
  const first = numberOf(start.segment, walSegmentSize)
  const last = numberOf(stop.segment, walSegmentSize)
  return [...new Set([start.timeline, stop.timeline])].map((timeline) => ({ timeline, first, last }))
}

/** Histories by timeline, from nodes that may have none. */
export function historiesByTimeline(
  histories: Iterable<TimelineHistory | undefined>,
): ReadonlyMap<number, TimelineHistory> {
  return new Map([...histories].flatMap((history) => (history ? [[history.timeline, history]] : [])))
}
