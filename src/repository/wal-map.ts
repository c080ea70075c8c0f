/**
 * What the WAL archive holds of one timeline: whole segments, in contiguous ranges, and what lies between them (V6, I11).
 * Everything comes from listings, a thousand names a request, and only ranges are kept: a year of WAL is a million names.
 */
import type { Lsn } from '../postgres/lsn.js'
import { parseWalFileName, segmentName, segmentNumberOf, type WalFile } from '../postgres/wal-segment.js'
import type { Storage, StoredObject } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'

/** One stored WAL segment of a timeline. */
export interface StoredSegment {
  name: string
  number: bigint
  /** Bytes as stored. */
  size: number
  lastModified: Date
}

/** A contiguous run of stored segments. */
export interface WalRange {
  /** Names of the first and last segment. */
  first: string
  last: string
  firstNumber: bigint
  lastNumber: bigint
  segments: number
  storedBytes: number
  /** When the earliest and the latest of them was stored, by the store's clock. */
  firstStored: Date
  lastStored: Date
}

/** Which part of a timeline is listed. */
export interface ListWalOptions {
  /** Number of the first segment wanted. Default: the first that is stored. */
  from?: bigint | undefined
  /** Number of the last segment wanted. Default: the last that is stored. */
  to?: bigint | undefined
  signal?: AbortSignal | undefined
}

/** Where the whole segments of a timeline end. */
export interface WalEnd {
  last: StoredSegment
  /** Whether a `.partial` of that very segment is stored, too: some server left the timeline in it, another filled it. */
  hasPartial: boolean
  /** Where its last commit is. Known only of a segment in which the timeline was left (fork-segment.ts). */
  lastCommit?: Lsn | undefined
}

/** All that is stored of a timeline. */
export interface TimelineWal {
  /** Ascending; a gap is what lies between two. */
  ranges: WalRange[]
  /** Names of `.partial` files: at most a few, one a promotion. */
  partials: string[]
  /** Undefined where no whole segment is stored. */
  end: WalEnd | undefined
}

/** Stored segments, ascending by number. A `.partial` is none: it never stands in for the whole segment (A4). */
export async function* listSegments(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  options: ListWalOptions = {},
): AsyncGenerator<StoredSegment, void, undefined> {
  for await (const { file, number, object } of listWalFiles(storage, cluster, timeline, options))
    if (file.kind === 'segment') yield segmentOf(file.name, number, object)
}

/** Contiguous ranges of the stored segments, ascending. */
export async function listRanges(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  options: ListWalOptions = {},
): Promise<WalRange[]> {
  return (await readTimelineWal(storage, cluster, timeline, options)).ranges
}

/** Everything about the WAL of a timeline, in one pass over its names. */
export async function readTimelineWal(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  options: ListWalOptions = {},
): Promise<TimelineWal> {
  const ranges: WalRange[] = []
  const partials: string[] = []
  const end = await readEnd(listWalFiles(storage, cluster, timeline, options), ({ file, number, object }) => {
    if (file.kind === 'partial') partials.push(file.name)
    else if (file.kind === 'segment') addToRanges(ranges, segmentOf(file.name, number, object))
  })
  return { ranges, partials, end }
}

/** As many names as a store gives in one answer. */
const PAGE = 1000

/**
 * The last whole segment of a timeline, or undefined. It leaps ahead and halves the leap where nothing is stored any more:
 * a few requests, however much WAL there is.
 */
export async function findWalEnd(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  signal?: AbortSignal,
): Promise<WalEnd | undefined> {
  const page = BigInt(PAGE)
  // every segment number that an LSN of 64 bits can have is below it
  const limit = (1n << 64n) / BigInt(cluster.walSegmentSize)
  let end: WalEnd | undefined
  /** All whole segments from here on are still to be looked at, up to `beyond`: nothing is stored from there on. */
  let low = 0n
  let beyond = limit
  for (let from = low, leap = page; low < beyond; leap *= 2n) {
    let count = 0
    const found = await readEnd(
      firstOf(PAGE, listWalFiles(storage, cluster, timeline, { from, signal })),
      () => count++,
    )
    if (found === undefined) beyond = from
    else {
      end = found
      low = found.last.number + 1n
      if (count < PAGE) return end
    }
    const middle = low + (beyond - low) / 2n
    from = beyond - low <= page ? low : low + leap < middle ? low + leap : middle
  }
  return end
}

/** One stored file of a timeline's folder. */
export interface StoredWalFile {
  file: Exclude<WalFile, { kind: 'history' }>
  number: bigint
  object: StoredObject
}

/** Files of a timeline's folder in the order of segments; a segment's `.backup` and `.partial` come right before it. */
export async function* listWalFiles(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  { from, to, signal }: ListWalOptions,
): AsyncGenerator<StoredWalFile, void, undefined> {
  const first = from === undefined ? undefined : segmentName(timeline, from, cluster.walSegmentSize)
  const file = first === undefined ? undefined : parseWalFileName(first)
  const startAfter = file && { startAfter: walKey(cluster.name, file).slice(0, -'.zst'.length) }
  for await (const object of storage.list(walTimelinePrefix(cluster.name, timeline), { ...startAfter, signal })) {
    const file = parseWalFileName(walFileNameOf(object.key) ?? '')
    // what lies in a folder that is not its own is never fetched
    if (!file || file.kind === 'history' || walKey(cluster.name, file) !== object.key) continue
    const number = segmentNumberOf(file, cluster.walSegmentSize)
    if (to !== undefined && number > to) return
    yield { file, number, object }
  }
}

async function* firstOf<T>(count: number, items: AsyncIterable<T>): AsyncGenerator<T, void, undefined> {
  let left = count
  for await (const item of items) {
    yield item
    if (--left === 0) return
  }
}

async function readEnd(
  files: AsyncIterable<StoredWalFile>,
  onFile: (file: StoredWalFile) => void,
): Promise<WalEnd | undefined> {
  let end: WalEnd | undefined
  let partial: bigint | undefined
  for await (const listed of files) {
    onFile(listed)
    const { file, number, object } = listed
    if (file.kind === 'partial') partial = number
    else if (file.kind === 'segment')
      end = { last: segmentOf(file.name, number, object), hasPartial: partial === number }
  }
  return end
}

function segmentOf(name: string, number: bigint, { size, lastModified }: StoredObject): StoredSegment {
  return { name, number, size, lastModified }
}

/** Adds a segment behind all that are in the ranges. */
export function addToRanges(ranges: WalRange[], { name, number, size, lastModified }: StoredSegment): void {
  const range = ranges.at(-1)
  if (range?.lastNumber !== number - 1n) {
    const stored = { firstStored: lastModified, lastStored: lastModified }
    const numbers = { firstNumber: number, lastNumber: number }
    ranges.push({ first: name, last: name, ...numbers, segments: 1, storedBytes: size, ...stored })
    return
  }
  range.last = name
  range.lastNumber = number
  range.segments++
  range.storedBytes += size
  if (lastModified < range.firstStored) range.firstStored = lastModified
  if (lastModified > range.lastStored) range.lastStored = lastModified
}
