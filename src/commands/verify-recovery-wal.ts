/**
 * The WAL of a backup: what it needs from start to stop, and what recovery could use behind that, along every timeline that
 * goes on (V1, V6). A segment that several backups need is read once.
 */
import type { FoundFault, Job, VerifyWalJob } from '../archive/jobs.js'
import { ToolError } from '../errors.js'
import { parseLsn } from '../postgres/lsn.js'
import {
  historyName,
  parseWalFileName,
  segmentName,
  segmentNames,
  segmentNumberAt,
  segmentNumberOf,
} from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import type { FaultList } from '../repository/fault-list.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { walFileNameOf, walKey } from '../repository/layout.js'
import { findHeads, pathTo, readTimelineTree, type TimelineTree, type WalPoint } from '../repository/timeline-tree.js'
import { listRanges, type WalRange } from '../repository/wal-map.js'
import { lookUntilFilled } from '../repository/wal-on-the-way.js'
import { findPathGap } from '../repository/wal-path.js'
import type { Storage } from '../storage/storage.js'
import type { RunJobs } from './verify-content.js'

/** Segments of one job: large enough that threads need not ask often, small enough that all are busy to the end. */
const SEGMENTS_A_JOB = 16

/** What was read of the WAL of one cluster, for all of its backups. */
export class WalReadings {
  readonly #faults = new Map<string, FoundFault>()
  readonly #done = new Map<number, [bigint, bigint][]>()
  readonly #histories = new Set<string>()
  tree: TimelineTree | undefined;

  /** Names of a run of segments that nobody has read, in portions; they count as read then. */
  *portions(timeline: number, from: bigint, to: bigint, walSegmentSize: number): Generator<string[]> {
    const done = this.#done.get(timeline) ?? []
    let names: string[] = []
    for (let number = from; number <= to; number++) {
      if (done.some(([first, last]) => first <= number && number <= last)) continue
      names.push(segmentName(timeline, number, walSegmentSize))
      if (names.length < SEGMENTS_A_JOB) continue
      yield names
      names = []
    }
    if (names.length > 0) yield names
    this.#done.set(timeline, [...done, [from, to]])
  }

  /** Whether a history is still to be read; it counts as read then. */
  isNewHistory(name: string): boolean {
    if (this.#histories.has(name)) return false
    this.#histories.add(name)
    return true
  }

  async read(cluster: ClusterIdentity, portions: Iterable<string[]>, run: RunJobs, signal: AbortSignal): Promise<void> {
    const { name, systemIdentifier, walSegmentSize } = cluster
    function* jobs(): Generator<Job> {
      for (const names of portions) {
        const job: VerifyWalJob = { kind: 'verify-wal', cluster: { name, systemIdentifier, walSegmentSize }, names }
        yield job
      }
    }
    for await (const result of run(jobs(), signal))
      if (result.kind === 'verified') for (const fault of result.faults) this.#faults.set(fault.key, fault)
  }

  /** All faults of files that `isWanted` names. */
  faults(isWanted: (key: string) => boolean): FoundFault[] {
    return [...this.#faults.values()].filter(({ key }) => isWanted(key))
  }
}

/** How the WAL is looked at. */
export interface WalLook {
  run: RunJobs
  readings: WalReadings
  signal: AbortSignal
}

/** By listing: every segment from start to stop is there, and the histories that lead on from it can be read. */
export async function verifyWalPresence(
  storage: Storage,
  cluster: ClusterIdentity,
  record: BackupRecord,
  faults: FaultList,
  { readings, signal }: WalLook,
): Promise<void> {
  const { start, stop } = record
  const names = segmentNames(start.timeline, parseLsn(start.lsn), parseLsn(stop.lsn), cluster.walSegmentSize)
  const from = segmentNumberAt(parseLsn(start.lsn), cluster.walSegmentSize)
  const to = from + BigInt(names.length - 1)
  const stored = await listRanges(storage, cluster, start.timeline, { from, to, signal })
  for (const [index, name] of names.entries()) {
    const number = from + BigInt(index)
    if (stored.some(({ firstNumber, lastNumber }) => firstNumber <= number && number <= lastNumber)) continue
    faults.add(keyOf(cluster, name), 'it is missing, and the backup needs it')
  }
  readings.tree ??= await readTimelineTree(storage, cluster, signal)
  // a history that cannot be read may be of a timeline that leads on from this backup; an older one cannot
  for (const { timeline, error } of readings.tree.unreadable) {
    const key = keyOf(cluster, historyName(timeline))
    if (timeline >= start.timeline) faults.add(key, error.message.replace(`"${key}" is damaged: `, ''))
  }
}

/** Everything that recovery of this backup could read, read. Returns what is remarkable and no fault. */
export async function verifyRecoveryWal(
  storage: Storage,
  cluster: ClusterIdentity,
  record: BackupRecord,
  faults: FaultList,
  { run, readings, signal }: WalLook,
): Promise<string[]> {
  const remarks: string[] = []
  const tree = (readings.tree ??= await readTimelineTree(storage, cluster, signal))
  const start = { timeline: record.start.timeline, lsn: parseLsn(record.start.lsn) }
  const stop = { timeline: record.stop.timeline, lsn: parseLsn(record.stop.lsn) }
  for (const { timeline, history } of tree.nodes.values()) {
    const key = keyOf(cluster, historyName(timeline))
    if (timeline > start.timeline && !history)
      faults.add(key, `it is missing, and WAL of timeline ${timeline} is there`)
  }
  const wanted = new Map<number, { from: bigint; to: bigint }[]>()
  for (const head of await headsFrom(storage, cluster, tree, stop, signal)) {
    // the backup's own timeline up to its stop is needed, whichever timeline recovery goes on to
    const path = pathTo(tree, start, head)
    if (!path) continue
    const { runs, gap } = await lookUntilFilled(
      storage,
      cluster,
      async () => {
        const runs: { timeline: number; ranges: readonly WalRange[] }[] = []
        const gap = await findPathGap(path, cluster.walSegmentSize, async (timeline, from, to) => {
          const ranges = await listRanges(storage, cluster, timeline, { from, to, signal })
          runs.push({ timeline, ranges })
          return ranges
        })
        return { runs, gap }
      },
      { gapsOf: ({ gap }) => [gap], signal },
    )
    if (gap?.isBehindStored) {
      const key = keyOf(cluster, gap.missing)
      faults.add(
        key,
        `it is missing, and "${gap.behind}" behind it is there: recovery along timeline ${head} ends before it`,
      )
    } else if (gap)
      remarks.push(`WAL of timeline ${head} went on to "${gap.behind}", and "${gap.missing}" is not there`)
    for (const { timeline, ranges } of runs) {
      for (const { firstNumber, lastNumber } of usable(ranges, runs, gap?.before, cluster.walSegmentSize)) {
        const list = wanted.get(timeline) ?? []
        list.push({ from: firstNumber, to: lastNumber })
        wanted.set(timeline, list)
      }
    }
    const histories = path.map((step) => historyName(step.timeline)).filter((name) => isStored(tree, name))
    const fresh = histories.filter((name) => !faults.has(keyOf(cluster, name)) && readings.isNewHistory(name))
    await readings.read(cluster, fresh.length > 0 ? [fresh] : [], run, signal)
    faults.addAll(readings.faults((key) => histories.some((name) => keyOf(cluster, name) === key)))
  }
  for (const [timeline, ranges] of wanted) {
    for (const { from, to } of ranges) {
      await readings.read(cluster, readings.portions(timeline, from, to, cluster.walSegmentSize), run, signal)
    }
  }
  faults.addAll(
    readings.faults((key) => {
      const file = parseWalFileName(walFileNameOf(key) ?? '')
      if (file?.kind !== 'segment') return false
      const number = segmentNumberOf(file, cluster.walSegmentSize)
      return (wanted.get(file.timeline) ?? []).some(({ from, to }) => from <= number && number <= to)
    }),
  )
  return remarks
}

/** Timelines on which recovery may end. Where a damaged segment hides which, all that descend from the backup. */
async function headsFrom(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  from: WalPoint,
  signal: AbortSignal,
): Promise<number[]> {
  try {
    const heads = await findHeads(storage, cluster, tree, { from, signal })
    return heads.length > 0 ? heads.map(({ timeline }) => timeline) : [from.timeline]
  } catch (error) {
    if (!(error instanceof ToolError) || error.code !== 'damaged') throw error
    return [...new Set([from.timeline, ...tree.nodes.keys()])]
  }
}

/** What lies before the first gap of a path: recovery cannot use the rest, which is other backups' matter. */
function usable(
  ranges: readonly WalRange[],
  runs: readonly { timeline: number; ranges: readonly WalRange[] }[],
  before: string | undefined,
  walSegmentSize: number,
): readonly WalRange[] {
  if (before === undefined) return ranges
  const end = parseWalFileName(before)
  if (end?.kind !== 'segment') return ranges
  const last = segmentNumberOf(end, walSegmentSize)
  const legOfEnd = runs.findIndex(
    (leg) =>
      leg.timeline === end.timeline &&
      leg.ranges.some(({ firstNumber, lastNumber }) => firstNumber <= last && last <= lastNumber),
  )
  const leg = runs.findIndex((one) => one.ranges === ranges)
  if (leg < legOfEnd) return ranges
  return leg > legOfEnd ? [] : ranges.filter(({ firstNumber }) => firstNumber <= last)
}

function isStored(tree: TimelineTree, name: string): boolean {
  const file = parseWalFileName(name)
  return file?.kind === 'history' && tree.nodes.get(file.timeline)?.history !== undefined
}

function keyOf(cluster: ClusterIdentity, name: string): string {
  const file = parseWalFileName(name)
  if (!file) throw new Error(`"${name}" is no WAL file`)
  return walKey(cluster.name, file)
}
