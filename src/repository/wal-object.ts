/**
 * The object of one WAL file: a skippable frame that says what follows (name, size, SHA-256), then zstd frames. Neither
 * a copy between stores nor a swap goes unnoticed, and plain `zstd -d` reads it (format rule 3).
 */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { ToolError } from '../errors.js'
import type { PartSource } from '../storage/storage.js'
import { compressedBound, FrameCompressor, skippableFrame } from '../streams/zstd-compress.js'

/** What the head of a WAL object says. */
export interface WalObjectHead {
  name: string
  /** Bytes of the WAL file. */
  size: number
  /** Of the WAL file, hex. */
  sha256: string
}

const HEAD_MAGIC = 0x184d2a50
/** The head is well below this; a ranged read of that many bytes always holds it whole. */
export const HEAD_BYTES = 512
const FRAME_BYTES = 4 * 1024 * 1024

/** Upper bound of the object of a WAL file of `size` bytes. */
export function walObjectBound(size: number): number {
  return HEAD_BYTES + compressedBound(size, Math.ceil(size / FRAME_BYTES) + 1)
}

/** Reads the head at the beginning of an object, or undefined while `bytes` does not hold it whole. */
export function parseWalObjectHead(bytes: Buffer, key: string): WalObjectHead | undefined {
  if (bytes.length < 8) return undefined
  const length = bytes.readUInt32LE(4)
  if (bytes.readUInt32LE(0) !== HEAD_MAGIC || length > HEAD_BYTES - 8) {
    throw new ToolError('damaged', `"${key}" is damaged: it does not begin with the head of a WAL object`)
  }
  if (bytes.length < 8 + length) return undefined
  try {
    const { name, size, sha256 } = JSON.parse(bytes.toString('utf8', 8, 8 + length)) as WalObjectHead
    if (typeof name === 'string' && typeof size === 'number' && /^[0-9a-f]{64}$/.test(sha256))
      return { name, size, sha256 }
  } catch {
    // falls through: what cannot be parsed is damaged all the same
  }
  throw new ToolError('damaged', `"${key}" is damaged: the head of the WAL object cannot be read`)
}

/** SHA-256 and size of a local file, hex. */
export function hashFile(path: string): { size: number; sha256: string; head: Buffer } {
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafe(1024 * 1024)
  const descriptor = openSync(path, 'r')
  let size = 0
  let head: Buffer = Buffer.alloc(0)
  try {
    for (;;) {
      const read = readSync(descriptor, piece, 0, piece.length, size)
      if (read === 0) break
      if (size === 0) head = Buffer.from(piece.subarray(0, Math.min(read, 64)))
      hash.update(piece.subarray(0, read))
      size += read
    }
  } finally {
    closeSync(descriptor)
  }
  return { size, sha256: hash.digest('hex'), head }
}

/** The body of a WAL object, compressed from the local file as the storage asks for it. */
export class WalObjectSource implements PartSource {
  readonly #head: WalObjectHead
  readonly #descriptor: number
  readonly #compressor: FrameCompressor
  readonly #frame = Buffer.allocUnsafe(FRAME_BYTES)
  readonly #hash = createHash('sha256')
  #pending: Uint8Array
  #position = 0

  constructor(path: string, head: WalObjectHead, options: { level: number }) {
    this.#head = head
    this.#compressor = new FrameCompressor(options)
    this.#pending = skippableFrame(Buffer.from(JSON.stringify(head)), HEAD_MAGIC)
    this.#descriptor = openSync(path, 'r')
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- an error must reject, not throw
  async fill(buffer: Uint8Array): Promise<number> {
    let written = this.#pending.length
    buffer.set(this.#pending)
    this.#pending = new Uint8Array(0)
    while (written < buffer.length) {
      if (this.#compressor.open) written += this.#compressor.drain(buffer.subarray(written))
      else if (!this.#beginFrame()) break
    }
    return written
  }

  close(): void {
    closeSync(this.#descriptor)
  }

  #beginFrame(): boolean {
    const read = readSync(this.#descriptor, this.#frame, 0, FRAME_BYTES, this.#position)
    if (read > 0) {
      this.#position += read
      this.#hash.update(this.#frame.subarray(0, read))
      this.#compressor.begin(this.#frame.subarray(0, read))
      return true
    }
    const { name, size, sha256 } = this.#head
    if (this.#position !== size || this.#hash.copy().digest('hex') !== sha256) {
      throw new ToolError('file-system', `"${name}" changed while it was read`)
    }
    return false
  }
}
