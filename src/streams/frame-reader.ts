/**
 * Reads a zstd object to prove it: whole, frame by frame, into buffers that are never used twice. It knows at each moment
 * which frame it is in and where that begins, so that damage has a place (V7).
 *
 * It shares nothing with the reader of a restore but zstd itself (V3): what both took for right would have to be right.
 */
import { createHash } from 'node:crypto'
import { reasonOf, ToolError } from '../errors.js'
import { zstd } from './zstd-binding.js'

const PIECE_BYTES = 256 * 1024
/** Kept of a skippable frame; the table of an archive has 8 bytes a frame. */
const MOST_SKIPPABLE_BYTES = 16 * 1024 * 1024

/** A frame without content: the head of a WAL object, or the table at the end of an archive. */
export interface SkippableFrame {
  /** Of its first byte in the object. */
  offset: number
  /** All of it, its eight bytes of header included. */
  bytes: Buffer
}

/** See the head of this file. Used for one object. */
export class FrameReader {
  /** Frames that were read to their end, the skippable ones included. */
  frames = 0
  /** Where the frame that is being read begins in the object. */
  frameOffset = 0
  /** Bytes of the object that were taken so far, and what they decompressed to. */
  consumed = 0
  produced = 0
  /** Sizes of the frames with content. */
  readonly sizes: { compressedSize: number; size: number }[] = []
  readonly skippable: SkippableFrame[] = []
  readonly #hash = createHash('sha256')
  #kept: Buffer[] = []
  #keptBytes = 0
  #frameProduced = 0

  /** `frame 3 at byte 81234`: where it is. */
  get place(): string {
    return `frame ${this.frames + 1} at byte ${this.frameOffset}`
  }

  /** SHA-256 of all bytes of the object, hex. Once, at the end. */
  digest(): string {
    return this.#hash.digest('hex')
  }

  /** The contents. Throws ToolError `damaged` for a frame that is wrong, one that does not end, and an object without any. */
  async *read(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
    const context = new (zstd().DCtx)()
    let isOpen = false
    for await (const chunk of source) {
      this.#hash.update(chunk)
      let input = chunk
      let isFull = false
      while (input.length > 0 || (isOpen && isFull)) {
        const room = Buffer.allocUnsafe(PIECE_BYTES)
        let left, produced, consumed
        try {
          ;[left, produced, consumed] = context.decompressStream(room, input)
        } catch (cause) {
          throw new ToolError('damaged', `it cannot be decompressed: ${reasonOf(cause)}`, { cause })
        }
        this.#take(input.subarray(0, consumed), produced)
        input = input.subarray(consumed)
        isFull = produced === room.length
        isOpen = left !== 0
        if (!isOpen) this.#endFrame()
        if (produced > 0) yield room.subarray(0, produced)
      }
    }
    if (isOpen) throw new ToolError('damaged', 'it ends inside a zstd frame')
    if (this.frames === 0) throw new ToolError('damaged', 'it is empty')
  }

  #take(bytes: Uint8Array, produced: number): void {
    this.consumed += bytes.length
    this.produced += produced
    this.#frameProduced += produced
    if (this.#keptBytes >= 4 && !this.#isSkippable()) return
    if (this.#keptBytes + bytes.length > MOST_SKIPPABLE_BYTES) return
    // a copy: the chunk is the storage's
    this.#kept.push(Buffer.from(bytes.subarray(0, this.#keptBytes < 4 ? bytes.length : MOST_SKIPPABLE_BYTES)))
    this.#keptBytes += bytes.length
  }

  #endFrame(): void {
    if (this.consumed === this.frameOffset) return
    if (this.#isSkippable()) this.skippable.push({ offset: this.frameOffset, bytes: Buffer.concat(this.#kept) })
    else this.sizes.push({ compressedSize: this.consumed - this.frameOffset, size: this.#frameProduced })
    this.frames++
    this.frameOffset = this.consumed
    this.#frameProduced = 0
    this.#kept = []
    this.#keptBytes = 0
  }

  /** Magic numbers 0x184D2A50 to 0x184D2A5F. */
  #isSkippable(): boolean {
    const begin = this.#keptBytes < 4 ? Buffer.alloc(0) : Buffer.concat(this.#kept.slice(0, 4))
    return begin.length >= 4 && (begin.readUInt32LE(0) & 0xfffffff0) >>> 0 === 0x184d2a50
  }
}
