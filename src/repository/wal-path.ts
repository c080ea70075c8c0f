/** The segments that recovery reads along a path of timelines, and the first that is missing (I11). */
import type { Lsn } from '../postgres/lsn.js'
import { lastSegmentNumberBefore, segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import type { WalRange } from './wal-map.js'

/** A stretch of a path: WAL of `timeline` from `from` to `to` (undefined: to the end of the archive). */
export interface PathStep {
  timeline: number
  from: Lsn
  to: Lsn | undefined
}

/** The first hole in a path. */
export interface PathGap {
  /** Name of the first segment that is not stored. */
  missing: string
  /** The stored segment before it, where the path does not begin with the hole. */
  before: string | undefined
  /** The first stored segment behind the hole; where none is stored, the last one that the path has to reach. */
  behind: string
  isBehindStored: boolean
}

/** Contiguous runs of a timeline's stored segments between two numbers, both included, ascending. */
export type RunsOf = (
  timeline: number,
  from: bigint,
  to: bigint | undefined,
) => Promise<readonly Pick<WalRange, 'firstNumber' | 'lastNumber'>[]>

/**
 * Asks for everything that is stored of a path up to `end` (default: to the end of the archive) and finds the first hole.
 * That the last timeline ends somewhere is no hole.
 */
export async function findPathGap(
  path: readonly PathStep[],
  walSegmentSize: number,
  runsOf: RunsOf,
  end?: Lsn,
): Promise<PathGap | undefined> {
  const legs = legsOf(path, walSegmentSize, end)
  const nameOf = (timeline: number, number: bigint): string => segmentName(timeline, number, walSegmentSize)
  let hole: Pick<PathGap, 'missing' | 'before'> | undefined
  let gap: PathGap | undefined
  let before: string | undefined
  for (const leg of legs) {
    let timeline = leg.timeline
    let runs = await runsOf(timeline, leg.first, leg.last)
    for (const older of leg.instead) {
      if (runs.length > 0) break
      timeline = older
      runs = await runsOf(older, leg.first, leg.first)
    }
    let expected = leg.first
    for (const { firstNumber, lastNumber } of runs) {
      if (firstNumber > expected) hole ??= { missing: nameOf(leg.timeline, expected), before }
      if (hole) gap ??= { ...hole, behind: nameOf(timeline, firstNumber), isBehindStored: true }
      expected = lastNumber + 1n
      before = nameOf(timeline, lastNumber)
    }
    if (expected <= (leg.last ?? leg.least)) hole ??= { missing: nameOf(leg.timeline, expected), before }
  }
  const last = legs.at(-1)
  if (!hole || !last) return undefined
  return gap ?? { ...hole, behind: nameOf(last.timeline, last.last ?? last.first), isBehindStored: false }
}

/** At the beginning of a segment: a timeline that begins right behind it needs nothing of the segment before (SizeOfXLogLongPHD). */
const PAGE_HEADER = 40n

/** Segments that are read from one timeline. */
interface Leg {
  timeline: number
  first: bigint
  /** Undefined: to the last that is stored, and to `least` in any case. */
  last: bigint | undefined
  least: bigint
  /** Timelines, newest first, that may give the first segment where this one has none. */
  instead: number[]
}

/**
 * PostgreSQL asks the newest timeline first (XLogFileReadAnyTLI() in xlogrecovery.c): the segment that holds a switch is the
 * new timeline's, which begins with a copy of what is before the switch. The old one's, where it is stored whole, serves
 * only while the path needs nothing behind the switch: right after a promotion, or for a target before it.
 */
function legsOf(path: readonly PathStep[], walSegmentSize: number, end: Lsn | undefined): Leg[] {
  const legs: Leg[] = []
  for (const [index, { timeline, from, to }] of path.entries()) {
    const first = segmentNumberAt(from, walSegmentSize)
    const next = path[index + 1]
    let last = to === undefined ? undefined : lastSegmentNumberBefore(to, walSegmentSize)
    if (next) last = segmentNumberAt(next.from, walSegmentSize) - 1n
    const needed = end === undefined ? undefined : lastSegmentNumberBefore(end, walSegmentSize)
    if (needed !== undefined && (last === undefined || needed < last)) last = needed
    if (last !== undefined && last < first) continue
    const needsOwn = last !== undefined && (end === undefined || end > from)
    // what is needed of the segment at least; an older timeline has it only if it was left there or later
    const reach = end !== undefined && end < from ? end : from
    const older = path.slice(0, index).filter((step) => {
      return segmentNumberAt(step.from, walSegmentSize) <= first && step.to !== undefined && step.to >= reach
    })
    // without what lies before the switch recovery ends on the older timeline, and is said to be on the newer
    const least = index > 0 && reach % BigInt(walSegmentSize) > PAGE_HEADER ? first : first - 1n
    legs.push({ timeline, first, last, least, instead: needsOwn ? [] : older.map((step) => step.timeline).reverse() })
  }
  return legs
}
