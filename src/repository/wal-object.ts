/**
 * The object of one WAL file: a skippable frame that says what follows (name, size, SHA-256), then zstd frames. Neither
 * a copy between stores nor a swap goes unnoticed, and plain `zstd -d` reads it (format rule 3).
 */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
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

/** Files up to this size are read once, into memory: what is hashed is what is compressed. */
const WHOLE_BYTES = 64 * 1024 * 1024
/** Bytes of {@link WalFileFacts.first}. */
const FIRST_BYTES = 64
/** Hashed between two looks at the thread that compresses. */
const HASHED_BYTES = 1024 * 1024

/** A local WAL file that was read to be stored. */
export interface WalFileFacts {
  size: number
  /** Its first bytes, at most 64. */
  first: Buffer
  /** All of it, where it is not too large for that. */
  contents?: Buffer
}

/** Reads a local file. `room` is used for its contents where they fit, so that file after file takes the same memory. */
export async function readWalFile(path: string, room?: Buffer): Promise<WalFileFacts> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const isWhole = size <= WHOLE_BYTES
    const length = isWhole ? size : FIRST_BYTES
    const buffer = room && room.length >= length ? room : Buffer.allocUnsafeSlow(length)
    let filled = 0
    for (let read = -1; read !== 0 && filled < length; filled += read)
      read = (await file.read(buffer, filled, length - filled, filled)).bytesRead
    if (isWhole && (filled < size || (await file.stat()).size !== size)) throw new Error('it changed while it was read')
    const contents = buffer.subarray(0, filled)
    return { size, first: contents.subarray(0, FIRST_BYTES), ...(isWhole && { contents }) }
  } finally {
    await file.close()
  }
}

/** SHA-256 and size of a local file of any size. */
export function hashFile(path: string): { size: number; sha256: string } {
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafe(1024 * 1024)
  const descriptor = openSync(path, 'r')
  let size = 0
  try {
    for (;;) {
      const read = readSync(descriptor, piece, 0, piece.length, size)
      if (read === 0) break
      hash.update(piece.subarray(0, read))
      size += read
    }
  } finally {
    closeSync(descriptor)
  }
  return { size, sha256: hash.digest('hex') }
}

/** The body of a WAL object, compressed from the file as the storage asks for it, and what its head says. */
export interface WalObjectBody extends PartSource {
  /** Computed now where the storage has not asked for the body before. */
  head: () => WalObjectHead
  close: () => void
}

/** What compresses one WAL file after the other. */
export function walCompressor(level: number): FrameCompressor {
  return new FrameCompressor({ level, threads: true })
}

/** The body for a file that was read. One that is not in memory is read twice more, and must not change meanwhile. */
export function walObjectBody(
  name: string,
  path: string,
  { size, contents }: WalFileFacts,
  compressor: FrameCompressor,
): WalObjectBody {
  return contents ? new WholeFileBody(name, contents, compressor) : new LargeFileBody(name, path, size, compressor)
}

function headFrame(head: WalObjectHead): Buffer {
  return skippableFrame(Buffer.from(JSON.stringify(head)), HEAD_MAGIC)
}

/** One frame. While zstd compresses in its threads, this one hashes. */
class WholeFileBody implements WalObjectBody {
  readonly #name: string
  readonly #contents: Buffer
  readonly #compressor: FrameCompressor
  readonly #hash = createHash('sha256')
  #hashed = 0
  #head: WalObjectHead | undefined
  #begun = false

  constructor(name: string, contents: Buffer, compressor: FrameCompressor) {
    this.#name = name
    this.#contents = contents
    this.#compressor = compressor
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- an error must reject, not throw
  async fill(buffer: Uint8Array): Promise<number> {
    let written = 0
    if (!this.#begun) {
      this.#begun = true
      const size = this.#contents.length
      // as long as the head will be, whatever the hash
      written = headFrame({ name: this.#name, size, sha256: '0'.repeat(64) }).length
      if (size > 0) this.#compressor.begin(this.#contents)
      while (this.#hashed < size) {
        written += this.#compressor.advance(buffer.subarray(written))
        this.#hashNext()
      }
      buffer.set(headFrame(this.head()))
    }
    return written + (this.#contents.length > 0 ? this.#compressor.drain(buffer.subarray(written)) : 0)
  }

  head(): WalObjectHead {
    while (this.#hashed < this.#contents.length) this.#hashNext()
    const { length: size } = this.#contents
    return (this.#head ??= { name: this.#name, size, sha256: this.#hash.digest('hex') })
  }

  close(): void {
    // nothing is held but memory
  }

  #hashNext(): void {
    const next = this.#contents.subarray(this.#hashed, this.#hashed + HASHED_BYTES)
    this.#hash.update(next)
    this.#hashed += next.length
  }
}

/** Frame after frame, from a file that is hashed first, and compared with that hash as it is read again. */
class LargeFileBody implements WalObjectBody {
  readonly #name: string
  readonly #path: string
  readonly #size: number
  readonly #compressor: FrameCompressor
  readonly #descriptor: number
  readonly #frame = Buffer.allocUnsafe(FRAME_BYTES)
  readonly #hash = createHash('sha256')
  #head: WalObjectHead | undefined
  #pending: Uint8Array | undefined
  #position = 0

  constructor(name: string, path: string, size: number, compressor: FrameCompressor) {
    this.#name = name
    this.#path = path
    this.#size = size
    this.#compressor = compressor
    this.#descriptor = openSync(path, 'r')
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- an error must reject, not throw
  async fill(buffer: Uint8Array): Promise<number> {
    this.#pending ??= headFrame(this.head())
    let written = this.#pending.length
    buffer.set(this.#pending)
    this.#pending = new Uint8Array(0)
    while (written < buffer.length) {
      if (this.#position > 0 && this.#compressor.open) written += this.#compressor.drain(buffer.subarray(written))
      else if (!this.#beginFrame()) break
    }
    return written
  }

  head(): WalObjectHead {
    return (this.#head ??= { name: this.#name, ...hashFile(this.#path) })
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
    const { size, sha256 } = this.head()
    if (size !== this.#size || this.#position !== size || this.#hash.copy().digest('hex') !== sha256)
      throw new ToolError('file-system', `"${this.#name}" changed while it was read`)
    return false
  }
}
