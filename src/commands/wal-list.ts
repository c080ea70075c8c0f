/** What the WAL archive holds, and whether it holds what the backups need: their own WAL, and all from there on (V6, I11). */
import type { Settings } from '../config/settings.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import { segmentName } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listBackups } from '../repository/catalog.js'
import { findCluster, listClusters } from '../repository/clusters.js'
import { readForkSegments } from '../repository/fork-segment.js'
import type { ClusterIdentity } from '../repository/identity.js'
import {
  headsOf,
  historiesOf,
  pathTo,
  readTimelineTree,
  type TimelineHead,
  type TimelineTree,
} from '../repository/timeline-tree.js'
import { readTimelineWal, type TimelineWal, type WalRange } from '../repository/wal-map.js'
import { lookUntilFilled } from '../repository/wal-on-the-way.js'
import { findPathGap, type PathGap, type PathStep } from '../repository/wal-path.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { listHead, type ListedHead } from './heads.js'
import { openToRead } from './open-repository.js'

/** The WAL of one cluster. */
export interface ClusterWal {
  cluster: ClusterIdentity
  /** By number, ascending. */
  timelines: ListedTimeline[]
  /** Oldest first. */
  backups: BackupWal[]
  /** Timelines on which recovery may end: with more than one it needs --target-timeline (format rule 9). */
  heads: ListedHead[]
  /** Backup records and history files that cannot be used. */
  unreadable: { name: string; reason: string }[]
  /** Whether something is missing that a backup needs. */
  isDamaged: boolean
}

/** One timeline. LSNs as text; times RFC 3339 by the store's clock. */
export interface ListedTimeline {
  timeline: number
  /** What it left, and where; missing without a usable history file. */
  parent?: number
  begin?: string
  history: 'stored' | 'unreadable' | 'none'
  /** Names of `.partial` files. */
  partials: string[]
  ranges: ListedRange[]
  /** What is missing between two ranges. */
  gaps: ListedGap[]
}

/** A contiguous run of segments: from `beginLsn` up to, and not including, `endLsn`. */
export interface ListedRange {
  first: string
  last: string
  beginLsn: string
  endLsn: string
  segments: number
  storedBytes: number
  firstStored: string
  lastStored: string
}

/** Names of the first and last missing segment, and how many they are. */
export interface ListedGap {
  first: string
  last: string
  segments: number
}

/** What a backup needs of the archive. */
export interface BackupWal {
  id: string
  label: string
  timeline: number
  /** Names of the first and last segment without which the backup is none. */
  first: string
  last: string
  /** First hole in that range: the backup cannot be restored. */
  missing?: PathGap
  /** First hole on the way from the backup's end to a head: recovery stops there. */
  gaps: (PathGap & { head: number })[]
}

const PARALLEL_LISTINGS = 4

/** Lists the WAL of the named cluster, or of all. */
export async function walList(settings: Settings, { signal }: CommandContext): Promise<ClusterWal[]> {
  const { storage } = await openToRead(settings)
  try {
    const clusters =
      settings.cluster === undefined
        ? await listClusters(storage, signal)
        : [await findCluster(storage, settings.cluster, signal)]
    const result: ClusterWal[] = []
    for (const cluster of clusters) {
      const look = (): Promise<ClusterWal> => listCluster(storage, cluster, signal)
      const gapsOf = ({ backups }: ClusterWal): PathGap[] => backups.flatMap(({ gaps }) => gaps)
      result.push(await lookUntilFilled(storage, cluster, look, { gapsOf, signal }))
    }
    return result
  } finally {
    storage.close()
  }
}

async function listCluster(storage: Storage, cluster: ClusterIdentity, signal: AbortSignal): Promise<ClusterWal> {
  const unreadable: ClusterWal['unreadable'] = []
  // the backups first: the WAL that a record names was there before the record
  const records = await listBackups(
    storage,
    cluster.name,
    ({ id, error }) => unreadable.push({ name: `backup ${id}`, reason: error.message }),
    signal,
  )
  const tree = await readTimelineTree(storage, cluster, signal)
  for (const { timeline, error } of tree.unreadable)
    unreadable.push({ name: `timeline ${timeline}`, reason: error.message })
  const wal = await readWal(storage, cluster, tree, signal)
  const ends = new Map([...wal].map(([timeline, { end }]) => [timeline, end]))
  await readForkSegments(storage, cluster, historiesOf(tree), ends, signal)
  const backups: BackupWal[] = []
  for (const record of records) {
    const from = { timeline: record.stop.timeline, lsn: parseLsn(record.stop.lsn) }
    const heads = headsOf(tree, ends, cluster.walSegmentSize, from)
    backups.push(await checkBackup(record, { cluster, tree, wal, heads }))
  }
  return {
    cluster,
    timelines: [...tree.nodes.keys()].map((timeline) => listTimeline(timeline, cluster, tree, wal.get(timeline))),
    backups,
    heads: headsOf(tree, ends, cluster.walSegmentSize).map(listHead),
    unreadable,
    isDamaged: backups.some(({ missing, gaps }) => missing !== undefined || gaps.length > 0),
  }
}

async function readWal(
  storage: Storage,
  cluster: ClusterIdentity,
  tree: TimelineTree,
  signal: AbortSignal,
): Promise<Map<number, TimelineWal>> {
  const timelines = [...tree.nodes.keys()]
  const wal = new Map<number, TimelineWal>()
  for (let at = 0; at < timelines.length; at += PARALLEL_LISTINGS) {
    const batch = timelines.slice(at, at + PARALLEL_LISTINGS).map(async (timeline) => {
      wal.set(timeline, await readTimelineWal(storage, cluster, timeline, { signal }))
    })
    await Promise.all(batch)
  }
  return wal
}

/** What {@link checkBackup} compares a backup with. */
interface Archive {
  cluster: ClusterIdentity
  tree: TimelineTree
  wal: ReadonlyMap<number, TimelineWal>
  /** Those that can be reached from the backup. */
  heads: readonly TimelineHead[]
}

async function checkBackup(record: BackupRecord, { cluster, tree, wal, heads }: Archive): Promise<BackupWal> {
  const { start, stop } = record
  const find = (path: readonly PathStep[], end?: bigint): Promise<PathGap | undefined> =>
    findPathGap(
      path,
      cluster.walSegmentSize,
      (timeline, from, to) => Promise.resolve(clip(wal.get(timeline)?.ranges ?? [], from, to)),
      end,
    )
  const from = { timeline: start.timeline, lsn: parseLsn(start.lsn) }
  const stopLsn = parseLsn(stop.lsn)
  // a standby may follow its primary to another timeline during the backup
  const own = pathTo(tree, from, stop.timeline) ?? [{ timeline: stop.timeline, from: from.lsn, to: undefined }]
  const missing = await find(own, stopLsn)
  const gaps: BackupWal['gaps'] = []
  for (const head of heads) {
    const path = pathTo(tree, { timeline: stop.timeline, lsn: stopLsn }, head.timeline) ?? []
    const gap = await find(path)
    if (gap) gaps.push({ head: head.timeline, ...gap })
  }
  const { id, label } = record
  const needs = { timeline: start.timeline, first: start.segment, last: stop.segment }
  return { id, label, ...needs, ...(missing && { missing }), gaps }
}

function clip(
  ranges: readonly WalRange[],
  from: bigint,
  to: bigint | undefined,
): Pick<WalRange, 'firstNumber' | 'lastNumber'>[] {
  return ranges
    .filter(({ firstNumber, lastNumber }) => lastNumber >= from && (to === undefined || firstNumber <= to))
    .map(({ firstNumber, lastNumber }) => ({
      firstNumber: firstNumber < from ? from : firstNumber,
      lastNumber: to !== undefined && lastNumber > to ? to : lastNumber,
    }))
}

function listTimeline(
  timeline: number,
  { walSegmentSize }: ClusterIdentity,
  { nodes, unreadable }: TimelineTree,
  wal: TimelineWal | undefined,
): ListedTimeline {
  const { parent, begin, history } = nodes.get(timeline) ?? {}
  const ranges = wal?.ranges ?? []
  const isUnreadable = unreadable.some((damaged) => damaged.timeline === timeline)
  return {
    timeline,
    ...(parent !== undefined && { parent }),
    ...(begin !== undefined && { begin: formatLsn(begin) }),
    history: history ? 'stored' : isUnreadable ? 'unreadable' : 'none',
    partials: wal?.partials ?? [],
    ranges: ranges.map((range) => listRange(range, walSegmentSize)),
    gaps: ranges.slice(1).map(({ firstNumber }, index) => {
      const last = firstNumber - 1n
      const first = (ranges[index]?.lastNumber ?? last) + 1n
      const nameOf = (number: bigint): string => segmentName(timeline, number, walSegmentSize)
      return { first: nameOf(first), last: nameOf(last), segments: Number(last - first + 1n) }
    }),
  }
}

function listRange(range: WalRange, walSegmentSize: number): ListedRange {
  const { first, last, firstNumber, lastNumber, segments, storedBytes, firstStored, lastStored } = range
  const size = BigInt(walSegmentSize)
  return {
    ...{ first, last, beginLsn: formatLsn(firstNumber * size), endLsn: formatLsn((lastNumber + 1n) * size) },
    ...{ segments, storedBytes, firstStored: firstStored.toISOString(), lastStored: lastStored.toISOString() },
  }
}
