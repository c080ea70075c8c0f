/** WAL made by hand, byte for byte as xlog.c would write it: for what a real server does once in a blue moon. */
import { crc32c } from '@node-rs/crc32'

/** A record to be written. */
export interface NewRecord {
  xid?: number
  /** Default 1, RM_XACT. */
  resourceManager?: number
  info?: number
  /** Main data; none by default, not even its header. */
  data?: Uint8Array
  /** Headers that stand before that of the main data. */
  before?: readonly number[]
  /** xl_prev, where it is not to be right. */
  previous?: bigint
}

/** Where a record came to lie. */
export interface WrittenRecord {
  lsn: bigint
  endLsn: bigint
}

/** See the head of this file. */
export class WalWriter {
  /** LSN of the first segment. */
  readonly start: bigint
  last: WrittenRecord = { lsn: 0n, endLsn: 0n }
  readonly #blockSize: number
  readonly #segmentSize: number
  readonly #segments: Buffer[] = []
  #at = 0
  #flags = 0

  constructor({ start = 0x1_0500_0000n, blockSize = 8192, pages = 8 } = {}) {
    this.start = start
    this.#blockSize = blockSize
    this.#segmentSize = blockSize * pages
    this.#write(Buffer.alloc(0), 0)
  }

  /** A segment with what was written to it, and zeros. */
  segment(number: number): Buffer {
    return (this.#segments[number] ??= Buffer.alloc(this.#segmentSize))
  }

  append(record: NewRecord): WrittenRecord {
    const bytes = this.#recordBytes(record)
    if (this.#at % this.#blockSize === 0) this.#beginPage(0)
    const lsn = this.start + BigInt(this.#at)
    this.#write(bytes, bytes.length)
    this.#at = align(this.#at)
    this.last = { lsn, endLsn: this.start + BigInt(this.#at) }
    return this.last
  }

  /** The part of a record that fits into the page, as a crash leaves it; what comes next begins a page in its place. */
  appendAborted(record: NewRecord): void {
    const bytes = this.#recordBytes(record)
    const room = this.#blockSize - (this.#at % this.#blockSize)
    if (bytes.length <= room) throw new Error('that record would not be cut off')
    this.#write(bytes.subarray(0, room), room)
    this.#flags = 0x0008
  }

  /** A record after which `room` bytes of the page are left. */
  fillPage(room: number): WrittenRecord {
    return this.#fill(this.#blockSize - (this.#at % this.#blockSize) - room)
  }

  /** A record after which `room` bytes of the segment are left. */
  fillSegment(room: number): WrittenRecord {
    const left = this.#segmentSize - (this.#at % this.#segmentSize)
    const pages = Math.ceil(left / this.#blockSize) - 1
    return this.#fill(left - pages * 24 - room)
  }

  /** A record of that length. */
  #fill(length: number): WrittenRecord {
    return this.append({ resourceManager: 10, data: Buffer.alloc(length - 24 - 5, 'filler') })
  }

  #recordBytes({ xid = 0, resourceManager = 1, info = 0, data, before = [], previous }: NewRecord): Buffer {
    const dataHeader = Buffer.alloc(data === undefined ? 0 : data.length < 256 ? 2 : 5)
    if (dataHeader.length === 2) dataHeader.set([255, data?.length ?? 0])
    else if (dataHeader.length === 5) {
      dataHeader.set([254])
      dataHeader.writeUInt32LE(data?.length ?? 0, 1)
    }
    const body = Buffer.concat([Uint8Array.from(before), dataHeader, data ?? Buffer.alloc(0)])
    const header = Buffer.alloc(24)
    header.writeUInt32LE(header.length + body.length, 0)
    header.writeUInt32LE(xid, 4)
    header.writeBigUInt64LE(previous ?? this.last.lsn, 8)
    header.set([info, resourceManager], 16)
    header.writeUInt32LE(crc32c(Buffer.concat([body, header.subarray(0, 20)])), 20)
    return Buffer.concat([header, body])
  }

  #write(bytes: Uint8Array, length: number): void {
    for (let written = 0; written < length || this.#at === 0;) {
      if (this.#at % this.#blockSize === 0) this.#beginPage(length - written)
      const size = Math.min(length - written, this.#blockSize - (this.#at % this.#blockSize))
      this.segment(Math.floor(this.#at / this.#segmentSize)).set(
        bytes.subarray(written, written + size),
        this.#at % this.#segmentSize,
      )
      this.#at += size
      written += size
    }
  }

  /** `rest`: bytes of a record that goes on here. */
  #beginPage(rest: number): void {
    const isFirst = this.#at % this.#segmentSize === 0
    const header = Buffer.alloc(isFirst ? 40 : 24)
    header.writeUInt16LE(0xd118, 0)
    header.writeUInt16LE((rest > 0 ? 0x0001 : 0) | (isFirst ? 0x0002 : 0) | this.#flags, 2)
    header.writeUInt32LE(1, 4)
    header.writeBigUInt64LE(this.start + BigInt(this.#at), 8)
    header.writeUInt32LE(rest, 16)
    if (isFirst) {
      header.writeBigUInt64LE(7000000000000000001n, 24)
      header.writeUInt32LE(this.#segmentSize, 32)
      header.writeUInt32LE(this.#blockSize, 36)
    }
    this.#flags = 0
    this.segment(Math.floor(this.#at / this.#segmentSize)).set(header, this.#at % this.#segmentSize)
    this.#at += header.length
  }
}

function align(at: number): number {
  return Math.ceil(at / 8) * 8
}
