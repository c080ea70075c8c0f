/**
 * Names of WAL files, and the arithmetic between LSNs, segment numbers and segment names.
 *
 * As the macros of xlog_internal.h do it: the WAL is cut into segments of `wal_segment_size` bytes, numbered from 0; a
 * name holds the timeline and the number in two parts, the upper counting stretches of 4 GiB ("log"). Names of
 * different timelines must never be compared as text (D4), so everything here works with numbers.
 */
import { ToolError } from '../errors.js'
import type { Lsn } from './lsn.js'

/** The three numbers in the name of a WAL segment. */
export interface SegmentParts {
  /** The name exactly as it was given (A4). */
  name: string
  timeline: number
  /** Which stretch of 4 GiB. */
  log: number
  /** Which segment within that stretch. */
  segment: number
}

/** A file that PostgreSQL hands to archive_command, known by its name (A4). */
export type WalFile =
  | ({ kind: 'segment' } & SegmentParts)
  /** The last segment of a timeline that was left in its middle; it never stands in for the whole segment (A4). */
  | ({ kind: 'partial' } & SegmentParts)
  /** The backup history file that a primary writes when a base backup ends; `offset` is the start LSN's in its segment. */
  | ({ kind: 'backup'; offset: number } & SegmentParts)
  | { kind: 'history'; name: string; timeline: number }

const HEX_8 = '([0-9A-F]{8})'
const SEGMENT_NAME = new RegExp(`^${HEX_8}${HEX_8}${HEX_8}(?:(\\.partial)|\\.${HEX_8}\\.backup)?$`)
const HISTORY_NAME = new RegExp(`^${HEX_8}\\.history$`)

/** A stretch of WAL whose segments share the middle eight digits of their names. */
const LOG_SIZE = 0x1_0000_0000n

/** The limits of `initdb --wal-segsize` (IsValidWalSegSize() in xlog_internal.h). */
const SMALLEST_SEGMENT = 1024 * 1024
const LARGEST_SEGMENT = 1024 * 1024 * 1024

/** The parts of the name of a WAL file, or undefined when it is none of the four kinds. Lower case is no WAL file. */
export function parseWalFileName(name: string): WalFile | undefined {
  const history = HISTORY_NAME.exec(name)
  if (history !== null) return { kind: 'history', name, timeline: fromHex(history[1]) }
  const match = SEGMENT_NAME.exec(name)
  if (match === null) return undefined
  const parts = { name, timeline: fromHex(match[1]), log: fromHex(match[2]), segment: fromHex(match[3]) }
  if (match[4] !== undefined) return { kind: 'partial', ...parts }
  if (match[5] !== undefined) return { kind: 'backup', ...parts, offset: fromHex(match[5]) }
  return { kind: 'segment', ...parts }
}

/** Whether PostgreSQL knows segments of that many bytes: a power of two from 1 MiB to 1 GiB. */
export function isWalSegmentSize(size: number): boolean {
  return size >= SMALLEST_SEGMENT && size <= LARGEST_SEGMENT && Number.isInteger(Math.log2(size))
}

/** The name of a segment (XLogFileName() in xlog_internal.h). */
export function segmentName(timeline: number, segmentNumber: bigint, walSegmentSize: number): string {
  const perLog = segmentsPerLog(walSegmentSize)
  return hex8(BigInt(timeline)) + hex8(segmentNumber / perLog) + hex8(segmentNumber % perLog)
}

/**
 * The number of the segment that a file is about (XLogFromFileName() in xlog_internal.h, with the check it lacks).
 *
 * @throws ToolError `damaged` when no segment of that size has such a name: two names would mean one segment
 */
export function segmentNumberOf(file: { log: number; segment: number }, walSegmentSize: number): bigint {
  const perLog = segmentsPerLog(walSegmentSize)
  if (BigInt(file.segment) >= perLog) {
    throw new ToolError(
      'damaged',
      `no WAL segment of ${walSegmentSize} bytes has a name ending in ${hex8(BigInt(file.log))}${hex8(BigInt(file.segment))}`,
      { hint: 'The file comes from a cluster with another wal_segment_size.' },
    )
  }
  return BigInt(file.log) * perLog + BigInt(file.segment)
}

/** The number of the segment that holds the byte at `lsn` (XLByteToSeg). */
export function segmentNumberAt(lsn: Lsn, walSegmentSize: number): bigint {
  return lsn / BigInt(walSegmentSize)
}

/**
 * The number of the segment that holds the byte before `lsn` (XLByteToPrevSeg): the last one needed to replay up to
 * there. Computed here since pg_walfile_name() means different segments in different versions (E4).
 */
export function lastSegmentNumberBefore(lsn: Lsn, walSegmentSize: number): bigint {
  return lsn === 0n ? 0n : (lsn - 1n) / BigInt(walSegmentSize)
}

/**
 * Names of all segments of one timeline that replay from `startLsn` to `stopLsn` needs, in order: from the segment of
 * the start to the segment of the byte before the stop (E4), and never fewer than the segment of the start.
 *
 * @throws ToolError `damaged` when the stop lies before the start
 */
export function segmentNames(timeline: number, startLsn: Lsn, stopLsn: Lsn, walSegmentSize: number): string[] {
  if (stopLsn < startLsn) throw new ToolError('damaged', 'a range of WAL ends before it begins')
  const last = lastSegmentNumberBefore(stopLsn, walSegmentSize)
  let number = segmentNumberAt(startLsn, walSegmentSize)
  const names = [segmentName(timeline, number, walSegmentSize)]
  while (++number <= last) names.push(segmentName(timeline, number, walSegmentSize))
  return names
}

/** Name of a timeline's history file (TLHistoryFileName). */
export function historyName(timeline: number): string {
  return `${hex8(BigInt(timeline))}.history`
}

function segmentsPerLog(walSegmentSize: number): bigint {
  return LOG_SIZE / BigInt(walSegmentSize)
}

function hex8(value: bigint): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}

function fromHex(digits: string | undefined): number {
  return Number.parseInt(digits ?? '', 16)
}
