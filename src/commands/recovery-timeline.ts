/**
 * Which timeline a recovery follows. PostgreSQL's own "latest" takes the newest history file that it can see, be it the one
 * of a restored copy with two rows; so where WAL goes on in two places after a fork, nobody picks one but the operator
 * (format rule 9).
 */
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import type { RecoveryTarget, TargetTimeline } from '../postgres/recovery-target.js'
import { timelineAt } from '../postgres/timeline.js'
import type { BackupRecord } from '../repository/backup-record.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { findHeads, pathTo, type TimelineHead, type TimelineTree } from '../repository/timeline-tree.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { UnreachableTargetError } from './unreachable-target.js'

/** Timeline on which recovery from a backup ends; undefined where it leads to none that is meant. */
export type EndTimeline = (backup: BackupRecord) => number | undefined

/** What decides the timeline. */
export interface TimelineRequest {
  target: RecoveryTarget
  timeline: TargetTimeline | undefined
}

/**
 * The timeline that is meant. Rejects with UnreachableTargetError where it is not in the archive, and with ToolError
 * `refused` that names the heads where more than one could be.
 */
export async function chooseTimeline(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  backups: readonly BackupRecord[],
  request: TimelineRequest,
  context: CommandContext,
): Promise<EndTimeline> {
  const own: EndTimeline = (backup) => backup.stop.timeline
  const { target, timeline } = request
  if (timeline === 'current') return own
  if (timeline === 'latest') {
    const latest = Math.max(...backups.flatMap((backup) => reachableFrom(tree, backup)))
    return () => latest
  }
  if (timeline !== undefined) {
    checkKnown(tree, backups, timeline)
    return () => timeline
  }
  // consistent is consistent: nothing after the backup matters, nor where it went on (I7)
  if (target.kind === 'immediate') return own
  const heads = await findHeads(storage, cluster, tree, { signal: context.signal })
  const reachable = heads.filter((head) => backups.some((backup) => leadsTo(tree, backup, head.timeline)))
  warnOfOthers(heads, reachable, context)
  const [only, ...more] = reachable
  if (!only) return own
  if (more.length === 0) return () => only.timeline
  const shared = target.kind === 'lsn' ? sharedTimeline(tree, reachable, target.lsn) : undefined
  if (shared !== undefined) return () => shared
  throw new ToolError(
    'refused',
    `timelines ${reachable.map((head) => head.timeline).join(' and ')} each have WAL after their fork: nothing here can tell which of them is meant`,
    {
      hint: `Name one with --target-timeline: ${reachable.map(({ timeline: number, description }) => `${number} (${description})`).join(', ')}.`,
    },
  )
}

function leadsTo(tree: TimelineTree, { stop }: BackupRecord, timeline: number): boolean {
  return pathTo(tree, { timeline: stop.timeline, lsn: parseLsn(stop.lsn) }, timeline) !== undefined
}

function reachableFrom(tree: TimelineTree, backup: BackupRecord): number[] {
  return [backup.stop.timeline, ...[...tree.nodes.keys()].filter((timeline) => leadsTo(tree, backup, timeline))]
}

/** Before the first fork of them all there is one history, whichever head is meant. */
function sharedTimeline(tree: TimelineTree, heads: readonly TimelineHead[], lsn: bigint): number | undefined {
  const owners = new Set(
    heads.map(({ timeline }) => {
      const history = tree.nodes.get(timeline)?.history
      return history ? timelineAt(history, lsn) : timeline
    }),
  )
  const [owner] = owners
  return owners.size === 1 ? owner : undefined
}

function checkKnown(tree: TimelineTree, backups: readonly BackupRecord[], timeline: number): void {
  const known = new Set([...tree.nodes.keys(), ...backups.map(({ stop }) => stop.timeline)])
  if (known.has(timeline)) return
  const list = [...known].sort((a, b) => a - b).join(', ')
  throw new UnreachableTargetError(
    `timeline ${timeline} is not in the archive`,
    `There ${known.size === 1 ? 'is only timeline' : 'are timelines'} ${list}.`,
  )
}

/** A head that no backup leads to cannot be meant; but somebody may look for it. */
function warnOfOthers(
  heads: readonly TimelineHead[],
  reachable: readonly TimelineHead[],
  { report }: CommandContext,
): void {
  for (const head of heads) {
    if (reachable.includes(head)) continue
    const from = head.begin === undefined ? '' : `, which began at ${formatLsn(head.begin)}`
    report({
      type: 'warning',
      message: `the archive also has timeline ${head.timeline}${from}: it does not hold ${reachable.length === 0 ? 'any backup that fits' : 'the backup'}`,
    })
  }
}
