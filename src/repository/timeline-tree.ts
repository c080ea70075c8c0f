/**
 * How the timelines of an archive hang together: which left which, and where. Timelines are numbers; that one is higher says
 * nothing about descent (D4), so everything comes from the history files, and all of them are read (I10).
 */
import { NotFoundError, ToolError } from '../errors.js'
import { formatLsn, type Lsn } from '../postgres/lsn.js'
import { isAncestor, switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { segmentNumberAt } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { readForkSegments } from './fork-segment.js'
import type { ClusterIdentity } from './identity.js'
import { listTimelines, readHistory } from './wal-histories.js'
import { addToRanges, findWalEnd, listSegments, type StoredSegment, type WalEnd, type WalRange } from './wal-map.js'
import { findPathGap, type PathGap, type PathStep } from './wal-path.js'

export type { StoredSegment } from './wal-map.js'
export type { PathGap, PathStep } from './wal-path.js'

/** One timeline of the archive. */
export interface TimelineNode {
  timeline: number
  parent: number | undefined
  /** Where it left its parent; undefined without a stored history: timeline 1, or the archive began later. */
  begin: Lsn | undefined
  history: TimelineHistory | undefined
}

/** All timelines that have a history file or a folder of WAL. */
export interface TimelineTree {
  /** By number, ascending. */
  nodes: Map<number, TimelineNode>
  /** History files that are damaged: their timelines count as ones without a history. */
  unreadable: { timeline: number; error: ToolError }[]
}

/** A place in the WAL. */
export interface WalPoint {
  timeline: number
  lsn: Lsn
}

/** A timeline where WAL goes on that no newer timeline continues. */
export interface TimelineHead {
  timeline: number
  /** Its last whole segment. */
  last: StoredSegment | undefined
  begin: Lsn | undefined
  parent: number | undefined
  /** How it is said to people: `timeline 2, which left timeline 1 at 0/3000028`. */
  description: string
}

const PARALLEL_READS = 8

/** Reads all history files, and finds all timelines that have WAL: a listing a timeline, and a read a history. */
export async function readTimelineTree(
  storage: Storage,
  cluster: ClusterIdentity,
  signal?: AbortSignal,
): Promise<TimelineTree> {
  const { timelines, files } = await listTimelines(storage, cluster.name, { signal })
  const histories = new Map<number, TimelineHistory>()
  const unreadable: TimelineTree['unreadable'] = []
  await inBatches(files, async (file) => {
    try {
      histories.set(file.timeline, await readHistory(storage, cluster.name, file, signal))
    } catch (error) {
      if (error instanceof NotFoundError) return
      if (!(error instanceof ToolError) || error.code !== 'damaged') throw error
      unreadable.push({ timeline: file.timeline, error })
    }
  })
  const nodes = new Map<number, TimelineNode>()
  for (const timeline of timelines) {
    const history = histories.get(timeline)
    const left = history?.entries.at(-1)
    nodes.set(timeline, { timeline, parent: left?.timeline, begin: left?.switchLsn, history })
  }
  return { nodes, unreadable: unreadable.sort((a, b) => a.timeline - b.timeline) }
}

/**
 * The path from a point to the end of `target`; undefined where `target` does not descend from that timeline, or left it
 * before that point: a server there could not get to it (I1, I9).
 */
export function pathTo(tree: TimelineTree, start: WalPoint, target: number): PathStep[] | undefined {
  const history = target === start.timeline ? { timeline: target, entries: [] } : tree.nodes.get(target)?.history
  if (!history || !isAncestor(history, start.timeline, start.lsn)) return undefined
  const path: PathStep[] = []
  let from = start.lsn
  for (const { timeline, switchLsn } of history.entries) {
    if (path.length === 0 && timeline !== start.timeline) continue
    path.push({ timeline, from, to: switchLsn })
    from = switchLsn
  }
  return [...path, { timeline: target, from, to: undefined }]
}

/**
 * The stored segments of a path up to `end` or, without one, to the last that is stored; and the first hole. The segment
 * that holds a switch is the new timeline's.
 */
export async function segmentsOfPath(
  storage: Storage,
  cluster: ClusterIdentity,
  path: readonly PathStep[],
  { end, signal }: { end?: Lsn | undefined; signal?: AbortSignal | undefined } = {},
): Promise<{ segments: StoredSegment[]; firstGap?: PathGap }> {
  const segments: StoredSegment[] = []
  const runsOf = async (timeline: number, from: bigint, to: bigint | undefined): Promise<WalRange[]> => {
    const runs: WalRange[] = []
    for await (const segment of listSegments(storage, cluster, timeline, { from, to, signal })) {
      segments.push(segment)
      addToRanges(runs, segment)
    }
    return runs
  }
  const firstGap = await findPathGap(path, cluster.walSegmentSize, runsOf, end)
  return { segments, ...(firstGap && { firstGap }) }
}

/** The heads of the archive, or those that can be reached from a point; ascending. One as a rule (format rule 9). */
export async function findHeads(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  { from, signal }: { from?: WalPoint | undefined; signal?: AbortSignal | undefined } = {},
): Promise<TimelineHead[]> {
  const ends = new Map<number, WalEnd | undefined>()
  await inBatches(reachable(tree, from), async ({ timeline }) => {
    ends.set(timeline, await findWalEnd(storage, cluster, timeline, signal))
  })
  await readForkSegments(storage, cluster, historiesOf(tree), ends, signal)
  return headsOf(tree, ends, cluster.walSegmentSize, from)
}

/** All histories that the tree knows. */
export function historiesOf(tree: TimelineTree): (TimelineHistory | undefined)[] {
  return [...tree.nodes.values()].map(({ history }) => history)
}

/** {@link findHeads} where it is known what each timeline ends with. */
export function headsOf(
  tree: TimelineTree,
  ends: ReadonlyMap<number, WalEnd | undefined>,
  walSegmentSize: number,
  from?: WalPoint,
): TimelineHead[] {
  const nodes = reachable(tree, from)
  const heads: TimelineHead[] = []
  const empty: TimelineNode[] = []
  for (const node of nodes) {
    const end = ends.get(node.timeline)
    const left = whereLeft(nodes, node.timeline)
    if (!left && !end) empty.push(node)
    else if (end && (!left || wentOn(end, left.lsn, walSegmentSize))) heads.push(headOf(node, end, left))
  }
  // What has a history and no whole segment yet is the newest there is, its WAL may be on the way; but not where another
  // timeline has WAL behind that point, and of two such the older was given up.
  for (const node of empty.reverse()) {
    const fork = node.history?.entries.findLast(({ timeline }) => ends.get(timeline) ?? timeline === from?.timeline)
    const goesBeyond = ({ timeline }: TimelineHead): boolean => {
      const history = tree.nodes.get(timeline)?.history
      if (!fork || timeline === fork.timeline) return true
      return history !== undefined && isAncestor(history, fork.timeline, fork.switchLsn)
    }
    if (!heads.some(goesBeyond)) heads.push(headOf(node, undefined, undefined))
  }
  return heads.sort((a, b) => a.timeline - b.timeline)
}

/** Timelines that recovery from a point can get to, its own first; without a point all. */
function reachable(tree: TimelineTree, from: WalPoint | undefined): TimelineNode[] {
  const nodes = [...tree.nodes.values()]
  if (!from) return nodes
  const own = { timeline: from.timeline, parent: undefined, begin: undefined, history: undefined }
  const others = nodes.filter(({ timeline }) => timeline !== from.timeline && pathTo(tree, from, timeline))
  return [tree.nodes.get(from.timeline) ?? own, ...others]
}

/** Where a timeline was left for the last time, and for which. What leaves it earlier continues less of it. */
function whereLeft(nodes: readonly TimelineNode[], timeline: number): { lsn: Lsn; child: number } | undefined {
  let last: { lsn: Lsn; child: number } | undefined
  for (const { history } of nodes) {
    if (!history) continue
    const lsn = switchLsnOf(history, timeline)
    if (lsn === undefined || (last && lsn <= last.lsn)) continue
    last = { lsn, child: history.entries.find((entry) => entry.timeline > timeline)?.timeline ?? history.timeline }
  }
  return last
}

/**
 * Whether a timeline has WAL of its own after it was left. A segment that begins at or behind the switch is one. The one
 * with the switch in its middle is none by itself: a cluster that was lost leaves its last segment whole in the archive,
 * with half a record at its end, and recovery ends before that record. But a commit behind the switch is of a server that
 * went on, and where one left it and archived what it had as `.partial`, a whole segment was filled by another.
 */
function wentOn({ last, hasPartial, lastCommit }: WalEnd, switchLsn: Lsn, walSegmentSize: number): boolean {
  const number = segmentNumberAt(switchLsn, walSegmentSize)
  if (last.number !== number) return last.number > number
  const isOnBoundary = switchLsn % BigInt(walSegmentSize) === 0n
  return isOnBoundary || hasPartial || (lastCommit !== undefined && lastCommit >= switchLsn)
}

function headOf(
  { timeline, begin, parent }: TimelineNode,
  end: WalEnd | undefined,
  left: { lsn: Lsn; child: number } | undefined,
): TimelineHead {
  const description =
    left !== undefined
      ? `timeline ${timeline}, which has WAL after timeline ${left.child} left it at ${formatLsn(left.lsn)}`
      : begin !== undefined
        ? `timeline ${timeline}, which left timeline ${parent} at ${formatLsn(begin)}`
        : `timeline ${timeline}`
  return { timeline, last: end?.last, begin, parent, description }
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += PARALLEL_READS)
    await Promise.all(items.slice(at, at + PARALLEL_READS).map(work))
}
