/**
 * The header at the beginning of every WAL segment, and the checks that tell a segment of this cluster from anything
 * else (A5).
 *
 * archive_command gets only a path. A truncated copy, another cluster's segment or a file renamed by hand looks the same
 * from outside, and PostgreSQL takes a same-sized segment with wrong contents for the end of WAL (G3). So both the
 * push and the fetch look at these 40 bytes first.
 */
import { formatLsn, type Lsn } from './lsn.js'
import { isWalSegmentSize, parseWalFileName } from './wal-segment.js'

/** XLogLongPageHeaderData of xlog_internal.h, without the length of a continued record. */
export interface WalLongHeader {
  /** XLOG_PAGE_MAGIC: tells the WAL format, so roughly the major version. */
  magic: number
  /** The XLP_ flags. */
  info: number
  /** Timeline of the first record on the page. */
  timeline: number
  /** LSN of the page's first byte. */
  pageAddress: Lsn
  systemIdentifier: bigint
  /** wal_segment_size in bytes. */
  segmentSize: number
  /** Size of a WAL page in bytes. */
  blockSize: number
}

/** What is known about a file that claims to be a WAL segment. */
export interface SegmentFacts {
  /** Name without directory. */
  name: string
  /** Size of the whole file in bytes. */
  size: number
  /** The cluster it has to come from, where that is known. */
  systemIdentifier?: bigint | undefined
  /** The size the cluster's segments have, where that is known. */
  walSegmentSize?: number | undefined
}

/** Bytes of the header on a segment's first page (SizeOfXLogLongPHD). */
export const WAL_LONG_HEADER_SIZE = 40

/** XLP_LONG_HEADER: set on the first page of each segment, and only there. */
const LONG_HEADER_FLAG = 0x0002

/** PostgreSQL 12 wrote 0xD101 and each change of the format adds to it: 13 has 0xD106, 18 has 0xD118. */
const FIRST_MAGIC = 0xd101
/** Room for later versions, while zeros, text and swapped bytes stay out. */
const LAST_MAGIC = 0xd2ff

/** The long header in the first bytes of a segment, or undefined when there are fewer than 40 bytes. */
export function parseWalPageHeader(bytes: Uint8Array): WalLongHeader | undefined {
  if (bytes.byteLength < WAL_LONG_HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    magic: view.getUint16(0, true),
    info: view.getUint16(2, true),
    timeline: view.getUint32(4, true),
    pageAddress: view.getBigUint64(8, true),
    // 16: length of the record continued from the page before, and four bytes of padding
    systemIdentifier: view.getBigUint64(24, true),
    segmentSize: view.getUint32(32, true),
    blockSize: view.getUint32(36, true),
  }
}

/**
 * What is wrong with a file that should be the WAL segment its name says, whole or `.partial`; undefined when nothing
 * is. `header` holds at least the first 40 bytes of the file. The first violated rule of A5 is named.
 */
export function segmentProblem(header: Uint8Array, facts: SegmentFacts): string | undefined {
  const file = parseWalFileName(facts.name)
  if (file?.kind !== 'segment' && file?.kind !== 'partial') return `"${facts.name}" is not the name of a WAL segment`
  const page = parseWalPageHeader(header)
  if (page === undefined) return `it has ${facts.size} bytes, which is too short for a WAL segment`
  if (page.magic < FIRST_MAGIC || page.magic > LAST_MAGIC) {
    return `its magic number 0x${page.magic.toString(16).toUpperCase().padStart(4, '0')} is not one of WAL`
  }
  if ((page.info & LONG_HEADER_FLAG) === 0) return 'its first page has no segment header'
  if (!isWalSegmentSize(page.segmentSize))
    return `its header says an impossible segment size, ${page.segmentSize} bytes`
  if (facts.walSegmentSize !== undefined && page.segmentSize !== facts.walSegmentSize) {
    return `its header says segments of ${page.segmentSize} bytes, the cluster has segments of ${facts.walSegmentSize}`
  }
  // Never more or less than a whole segment: PostgreSQL preallocates the file, and .partial files keep the full size.
  if (facts.size !== page.segmentSize) return `it has ${facts.size} bytes instead of ${page.segmentSize}`
  if (facts.systemIdentifier !== undefined && page.systemIdentifier !== facts.systemIdentifier) {
    return `it belongs to the cluster with system identifier ${page.systemIdentifier}, not ${facts.systemIdentifier}`
  }
  const perLog = 0x1_0000_0000 / page.segmentSize
  if (file.segment >= perLog) return `no segment of ${page.segmentSize} bytes has this name`
  const expected = (BigInt(file.log) << 32n) + BigInt(file.segment) * BigInt(page.segmentSize)
  if (page.pageAddress !== expected) {
    return `it begins at ${formatLsn(page.pageAddress)}, its name says ${formatLsn(expected)}`
  }
  // A segment in which the timeline changed begins with a copy of the old timeline's pages, so lower is right.
  if (page.timeline > file.timeline) return `it is of timeline ${page.timeline}, its name says ${file.timeline}`
  return undefined
}
