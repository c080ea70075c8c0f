/**
 * Independent zstd frames, each with its content size and checksum, and the seek table that closes an object.
 *
 * A frame is compressed from one buffer straight into whatever room the caller has, without a copy of ours in
 * between; where the room ends, the frame goes on in the next buffer. Plain `zstd -d` reads the result; the seek table
 * is zstd's own seekable format in a skippable frame, which `zstd -d` passes over.
 */
import { zstd } from './zstd-binding.js'

/** Sizes of one frame, as the seek table holds them. */
export interface FrameSizes {
  compressedSize: number
  size: number
}

const SKIPPABLE_MAGIC = 0x184d2a5e
const SEEKABLE_MAGIC = 0x8f92eab1

/** A skippable frame around `content`; zstd readers pass over it. */
export function skippableFrame(content: Uint8Array, magic: number = SKIPPABLE_MAGIC): Buffer {
  const frame = Buffer.allocUnsafe(8 + content.length)
  frame.writeUInt32LE(magic, 0)
  frame.writeUInt32LE(content.length, 4)
  frame.set(content, 8)
  return frame
}

/** The seek table of zstd's seekable format, without per-frame checksums (every frame carries its own). */
export function seekTable(frames: readonly FrameSizes[]): Buffer {
  const table = Buffer.allocUnsafe(frames.length * 8 + 9)
  frames.forEach(({ compressedSize, size }, index) => {
    table.writeUInt32LE(compressedSize, index * 8)
    table.writeUInt32LE(size, index * 8 + 4)
  })
  const footer = frames.length * 8
  table.writeUInt32LE(frames.length, footer)
  table.writeUInt8(0, footer + 4)
  table.writeUInt32LE(SEEKABLE_MAGIC, footer + 5)
  return skippableFrame(table)
}

/** An upper bound of what `size` bytes in `frames` frames can become, seek table included (ZSTD_COMPRESSBOUND). */
export function compressedBound(size: number, frames: number): number {
  return size + Math.ceil(size / 256) + frames * (256 + 8) + 64
}

/** Compresses one frame after the other with one reused context. */
export class FrameCompressor {
  readonly frames: FrameSizes[] = []
  readonly #context
  readonly #continue: number
  readonly #end: number
  #source: Uint8Array = new Uint8Array(0)
  #consumed = 0
  /** Of the open frame: its bytes, those of them that are still to be given, and what they have become so far. */
  #size = 0
  #announced = 0
  #produced = 0
  #open = false

  /** With `threads` zstd compresses in two threads of its own, while this one does what it does between {@link advance}. */
  constructor({ level, threads = false }: { level: number; threads?: boolean }) {
    const binding = zstd()
    this.#context = new binding.CCtx()
    this.#context.setParameter(binding.CParameter.compressionLevel, level)
    this.#context.setParameter(binding.CParameter.checksumFlag, 1)
    if (threads) {
      this.#context.setParameter(binding.CParameter.nbWorkers, 2)
      // what the threads hold grows with it; with less they wait for each other
      this.#context.setParameter(binding.CParameter.jobSize, 1024 * 1024)
    }
    this.#continue = binding.EndDirective.continue
    this.#end = binding.EndDirective.end
  }

  /** Whether a frame was begun that {@link drain} has not yet written to its end. */
  get open(): boolean {
    return this.#open
  }

  /** Whether the open frame goes on with {@link append}: what it was given is taken, and more of it was announced. */
  get hungry(): boolean {
    return this.#open && this.#announced > 0 && this.#consumed === this.#source.length
  }

  /** Whether all of the open frame was given, which leaves {@link drain} to end it. */
  get complete(): boolean {
    return this.#announced === 0
  }

  /**
   * Begins a frame of `size` bytes: of `source`, which must stay as it is until it is taken, and of what is appended where
   * `size` is more.
   */
  begin(source: Uint8Array, size: number = source.length): void {
    // a frame that was given up would go on in this one
    if (this.#open) this.#context.reset(zstd().ResetDirective.sessionOnly)
    this.#context.setPledgedSrcSize(size)
    this.#size = size
    this.#announced = size
    this.#produced = 0
    this.#open = true
    this.append(source)
  }

  /** The next bytes of a frame that is hungry, which must stay as they are until they are taken. */
  append(source: Uint8Array): void {
    this.#source = source
    this.#consumed = 0
    this.#announced -= source.length
  }

  /**
   * Hands on what the threads of zstd take of the open frame, and writes what it has ready; returns the bytes written.
   * {@link drain} is left to end the frame.
   */
  advance(room: Uint8Array): number {
    // A byte is left for the end: after all of the content the last block would be empty, and with such a one no reader of
    // zstd's compares the size in the frame's header.
    const rest = this.#source.subarray(this.#consumed, this.complete ? -1 : undefined)
    if (rest.length === 0 || room.length === 0) return 0
    const [, produced, consumed] = this.#context.compressStream2(room, rest, this.#continue)
    this.#produced += produced
    this.#consumed += consumed
    return produced
  }

  /** Writes as much of the open frame, which is complete, as `room` takes; returns the bytes written. */
  drain(room: Uint8Array): number {
    let written = 0
    while (this.#open && written < room.length) {
      const rest = this.#source.subarray(this.#consumed)
      const [left, produced, consumed] = this.#context.compressStream2(room.subarray(written), rest, this.#end)
      written += produced
      this.#produced += produced
      this.#consumed += consumed
      if (left === 0) {
        this.frames.push({ compressedSize: this.#produced, size: this.#size })
        this.#open = false
      }
    }
    return written
  }
}
