/**
 * The records in a WAL segment, as xlogreader.c reads them.
 *
 * A record begins at a multiple of eight bytes and goes on across pages, each of which begins with a header, and across
 * segments. Nothing marks where WAL ends: what follows the last record is zeros, or an old segment under a new name. So
 * each page says which bytes it holds and each record carries a CRC, and whatever is not right is the end, as it is for
 * the server. Only whole records are given: recovery cannot replay the beginning of one.
 */
import { crc32c } from './checksum.js'
import type { Lsn } from './lsn.js'
import { parseWalPageHeader, WAL_LONG_HEADER_SIZE } from './wal-page-header.js'

/** One record (XLogRecord of xlogrecord.h). */
export interface WalRecord {
  /** Where it begins: ReadRecPtr. */
  lsn: Lsn
  /** Where it ends, aligned: EndRecPtr. After a switch of segments, the end of the segment. */
  endLsn: Lsn
  /** The transaction that wrote it, 0 where none did. */
  xid: number
  /** RmgrId: who knows what it means. */
  resourceManager: number
  /** xl_info: the upper four bits are the resource manager's. */
  info: number
  /**
   * Main data. May share memory with the segment. Empty where the record is about blocks: nothing here needs both, and how
   * page images are described differs between versions.
   */
  data: Uint8Array
}

const PAGE_HEADER_SIZE = 24
const RECORD_HEADER_SIZE = 24
/** xl_crc: the last part of the header, and not part of itself. */
const CRC_OFFSET = 20

/** Flags of a page: it begins with the rest of a record; it has the header of a segment's first page. */
const XLP_FIRST_IS_CONTRECORD = 0x0001
const XLP_LONG_HEADER = 0x0002
/** The record before was never finished: a crash cut it off, and WAL goes on here (not before 13.5). */
const XLP_FIRST_IS_OVERWRITE_CONTRECORD = 0x0008

const RM_XLOG = 0
const XLOG_SWITCH = 0x40

/** What may stand before the main data, where no block does: its length, an origin, the top-level xid. */
const BLOCK_ID_DATA_SHORT = 255
const BLOCK_ID_DATA_LONG = 254
const BLOCK_ID_ORIGIN = 253
const BLOCK_ID_TOPLEVEL_XID = 252

/**
 * Records that begin in a segment, in order. `next` holds the bytes that follow the segment, as {@link continuationOf}
 * gives them: without them a record that goes on in the next segment is not given.
 *
 * Ends where WAL ends. That need not be the end of the segment, and it is no error: zeros, a switch of segments, pages of
 * an older segment, a record with a wrong CRC.
 */
export function* readWalRecords(segment: Uint8Array, next?: Uint8Array): Generator<WalRecord> {
  const wal = Pages.open(segment, next)
  if (wal === undefined) return
  let at = wal.continuationEnd()
  let previous: Lsn | undefined
  while (at < segment.length) {
    if (at % wal.blockSize === 0) {
      const page = wal.page(at)
      if (page === undefined || (page.info & XLP_FIRST_IS_CONTRECORD) !== 0) return
      at += page.headerSize
    }
    const taken = wal.take(at, wal.uint32(at))
    if (taken === undefined) return
    if (taken.bytes === undefined) {
      at = taken.overwrittenAt
      continue
    }
    const record = parseRecord(taken.bytes, wal.start + BigInt(at), wal.start + BigInt(align(taken.end)), previous)
    if (record === undefined) return
    if (record.resourceManager === RM_XLOG && (record.info & 0xf0) === XLOG_SWITCH) {
      yield { ...record, endLsn: wal.start + BigInt(segment.length) }
      return
    }
    yield record
    previous = record.lsn
    at = align(taken.end)
  }
}

/**
 * The first pages of a segment, as far as they hold the rest of a record that began before it; empty when it begins with a
 * record, and all of the segment when the record ends in its last page or goes on behind it. Shares memory with the segment.
 */
export function continuationOf(segment: Uint8Array): Uint8Array {
  const wal = Pages.open(segment)
  const first = wal?.page(0)
  if (wal === undefined || first === undefined || (first.info & XLP_FIRST_IS_CONTRECORD) === 0) {
    return segment.subarray(0, 0)
  }
  return segment.subarray(0, Math.ceil(wal.continuationEnd() / wal.blockSize) * wal.blockSize)
}

/** The pages of a segment and those after it. Positions are counted from the beginning of the segment. */
class Pages {
  /** LSN of the first byte. */
  readonly start: Lsn
  readonly blockSize: number
  readonly #magic: number
  readonly #views: readonly [DataView, DataView]

  static open(segment: Uint8Array, next: Uint8Array = new Uint8Array(0)): Pages | undefined {
    const header = parseWalPageHeader(segment)
    if (header === undefined || header.blockSize <= WAL_LONG_HEADER_SIZE) return undefined
    if (header.blockSize % 8 !== 0 || segment.length % header.blockSize !== 0) return undefined
    return new Pages(segment, next, header)
  }

  private constructor(
    private readonly segment: Uint8Array,
    private readonly next: Uint8Array,
    header: { magic: number; blockSize: number; pageAddress: Lsn },
  ) {
    this.start = header.pageAddress
    this.blockSize = header.blockSize
    this.#magic = header.magic
    this.#views = [viewOf(segment), viewOf(next)]
  }

  /** The page that begins at a position, or undefined where it is not at hand or holds other bytes than it should. */
  page(at: number): { info: number; headerSize: number; remaining: number } | undefined {
    if (at + this.blockSize > this.segment.length + this.next.length) return undefined
    const [view, offset] = this.#find(at)
    // a recycled file has the headers of its former life until they are written over
    if (view.getUint16(offset, true) !== this.#magic) return undefined
    if (view.getBigUint64(offset + 8, true) !== this.start + BigInt(at)) return undefined
    const info = view.getUint16(offset + 2, true)
    return {
      info,
      headerSize: (info & XLP_LONG_HEADER) === 0 ? PAGE_HEADER_SIZE : WAL_LONG_HEADER_SIZE,
      remaining: view.getUint32(offset + 16, true),
    }
  }

  uint32(at: number): number {
    const [view, offset] = this.#find(at)
    return view.getUint32(offset, true)
  }

  /** Where the first record can begin, behind what is left of one from before: the beginning of a page, or a place in it. */
  continuationEnd(): number {
    for (let at = 0; at < this.segment.length; at += this.blockSize) {
      const page = this.page(at)
      // each page is asked anew, since the record may have been given up in any of them
      if (page === undefined || (page.info & XLP_FIRST_IS_CONTRECORD) === 0) return at
      const end = page.headerSize + align(page.remaining)
      if (end < this.blockSize) return at + end
    }
    return this.segment.length
  }

  /**
   * The bytes of the record of `length` bytes at `at`, and where it ends; or the page that goes on without the rest of it;
   * undefined when it is no record or is not there in full.
   */
  take(
    at: number,
    length: number,
  ): { bytes: Uint8Array; end: number } | { bytes: undefined; overwrittenAt: number } | undefined {
    if (length < RECORD_HEADER_SIZE) return undefined
    const parts: Uint8Array[] = []
    let left = length
    let position = at
    for (;;) {
      const size = Math.min(left, this.blockSize - (position % this.blockSize))
      parts.push(this.#bytes(position, size))
      position += size
      left -= size
      if (left === 0) return { bytes: joined(parts), end: position }
      const page = this.page(position)
      if (page === undefined) return undefined
      if ((page.info & XLP_FIRST_IS_OVERWRITE_CONTRECORD) !== 0) return { bytes: undefined, overwrittenAt: position }
      if ((page.info & XLP_FIRST_IS_CONTRECORD) === 0 || page.remaining !== left) return undefined
      position += page.headerSize
    }
  }

  #bytes(at: number, length: number): Uint8Array {
    if (at < this.segment.length) return this.segment.subarray(at, at + length)
    return this.next.subarray(at - this.segment.length, at - this.segment.length + length)
  }

  #find(at: number): [DataView, number] {
    return at < this.segment.length ? [this.#views[0], at] : [this.#views[1], at - this.segment.length]
  }
}

/** The record in those bytes; undefined when it is not one that follows `previous`, or damaged. */
function parseRecord(bytes: Uint8Array, lsn: Lsn, endLsn: Lsn, previous: Lsn | undefined): WalRecord | undefined {
  const view = viewOf(bytes)
  const link = view.getBigUint64(8, true)
  if (previous === undefined ? link >= lsn : link !== previous) return undefined
  // the header comes last, since the server adds it when it knows where the record will lie
  const crc = crc32c(bytes.subarray(0, CRC_OFFSET), crc32c(bytes.subarray(RECORD_HEADER_SIZE)))
  if (crc !== view.getUint32(CRC_OFFSET, true)) return undefined
  return {
    lsn,
    endLsn,
    xid: view.getUint32(4, true),
    info: view.getUint8(16),
    resourceManager: view.getUint8(17),
    data: mainData(bytes),
  }
}

/** The main data is what is behind all headers, and the last of a record. */
function mainData(bytes: Uint8Array): Uint8Array {
  let at = RECORD_HEADER_SIZE
  for (;;) {
    switch (bytes[at]) {
      case BLOCK_ID_ORIGIN:
        at += 3
        break
      case BLOCK_ID_TOPLEVEL_XID:
        at += 5
        break
      case BLOCK_ID_DATA_SHORT:
        return bytes.subarray(at + 2)
      case BLOCK_ID_DATA_LONG:
        return bytes.subarray(at + 5)
      default:
        return bytes.subarray(bytes.length)
    }
  }
}

/** Most records are in one page, and not copied. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts
  return first !== undefined && parts.length === 1 ? first : Buffer.concat(parts)
}

/** MAXALIGN(). */
function align(at: number): number {
  return Math.ceil(at / 8) * 8
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
