/**
 * The object of one WAL file: a skippable frame that says what follows (name, size, SHA-256), then zstd frames. Neither
 * a copy between stores nor a swap goes unnoticed, and plain `zstd -d` reads it (format rule 3).
 */
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
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
/** Of the file in one frame: segments of the usual size are one. */
const FRAME_BYTES = 64 * 1024 * 1024
/** Read, hashed and compressed at a time, while it is in the cache. */
const PIECE_BYTES = 1024 * 1024

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

/** A local WAL file that is to be stored. */
export interface WalFileFacts {
  size: number
  /** Its first bytes, at most 64. */
  first: Buffer
}

/** Size and beginning of a local file. */
export async function lookAtWalFile(path: string): Promise<WalFileFacts> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const first = Buffer.alloc(Math.min(size, 64))
    const { bytesRead } = await file.read(first, 0, first.length, 0)
    return { size, first: first.subarray(0, bytesRead) }
  } finally {
    await file.close()
  }
}

/** SHA-256 and size of a local file of any size. */
export function hashFile(path: string): { size: number; sha256: string } {
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafe(PIECE_BYTES)
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

/** What compresses one WAL file after the other, and the memory that pieces of them are read into. */
export class WalCompressor {
  readonly frame: FrameCompressor
  readonly piece = Buffer.allocUnsafeSlow(PIECE_BYTES)

  constructor(level: number) {
    this.frame = new FrameCompressor({ level, threads: true })
  }
}

/**
 * The body of a WAL object, read, hashed and compressed piece by piece as the storage asks for it.
 *
 * The head comes first and tells the hash of all. Where the first buffer holds the whole object the head is written last,
 * into the room that was left for it: the file is read once. Otherwise it is hashed before, and must be the same still
 * when it is read to be stored.
 */
export class WalObjectBody implements PartSource {
  readonly #name: string
  readonly #path: string
  readonly #facts: WalFileFacts
  readonly #compressor: WalCompressor
  readonly #descriptor: number
  readonly #hash = createHash('sha256')
  #head: WalObjectHead | undefined
  #position = 0
  #begun = false

  /** Opens the file; {@link close} frees it. */
  constructor(name: string, path: string, facts: WalFileFacts, compressor: WalCompressor) {
    this.#name = name
    this.#path = path
    this.#facts = facts
    this.#compressor = compressor
    this.#descriptor = openSync(path, 'r')
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- an error must reject, not throw
  async fill(buffer: Uint8Array): Promise<number> {
    if (this.#begun) return this.#fillContents(buffer)
    this.#begun = true
    if (buffer.length < walObjectBound(this.#facts.size)) {
      const head = headFrame(this.head())
      buffer.set(head)
      return head.length + this.#fillContents(buffer.subarray(head.length))
    }
    // as long as the head will be, whatever the hash
    const { length } = headFrame({ name: this.#name, size: this.#facts.size, sha256: '0'.repeat(64) })
    const filled = length + this.#fillContents(buffer.subarray(length))
    buffer.set(headFrame(this.head()))
    return filled
  }

  /** What the head says; read from the file where the storage has not asked for the body. */
  head(): WalObjectHead {
    return (this.#head ??= { name: this.#name, ...hashFile(this.#path) })
  }

  close(): void {
    closeSync(this.#descriptor)
  }

  #fillContents(room: Uint8Array): number {
    const { frame } = this.#compressor
    const { size } = this.#facts
    let written = 0
    while (written < room.length) {
      const rest = room.subarray(written)
      // at the beginning it may be open: left so by a file that failed
      if (this.#position === 0 || !frame.open) {
        if (this.#position === size) {
          this.#end()
          break
        }
        const left = Math.min(FRAME_BYTES, size - this.#position)
        const piece = this.#read()
        frame.begin(piece, left)
        written += this.#advance(piece, rest)
      } else if (frame.hungry) {
        const piece = this.#read()
        frame.append(piece)
        written += this.#advance(piece, rest)
      } else {
        written += frame.complete ? frame.drain(rest) : frame.advance(rest)
      }
    }
    return written
  }

  /** The next piece of the file. */
  #read(): Buffer {
    const { size, first } = this.#facts
    const position = this.#position
    const piece = this.#compressor.piece.subarray(0, Math.min(PIECE_BYTES, size - position))
    let filled = 0
    for (let read = -1; read !== 0 && filled < piece.length; filled += read)
      read = readSync(this.#descriptor, piece, filled, piece.length - filled, position + filled)
    if (filled < piece.length || (position === 0 && !piece.subarray(0, first.length).equals(first)))
      throw this.#changed()
    this.#position += filled
    return piece
  }

  /** While the threads of zstd work on a piece, this one hashes it. */
  #advance(piece: Buffer, room: Uint8Array): number {
    const written = this.#compressor.frame.advance(room)
    this.#hash.update(piece)
    return written
  }

  /** What was stored is the file that was looked at, and all of it. */
  #end(): void {
    const { size } = this.#facts
    const sha256 = this.#hash.digest('hex')
    this.#head ??= { name: this.#name, size, sha256 }
    if (fstatSync(this.#descriptor).size !== size || this.#head.size !== size || this.#head.sha256 !== sha256)
      throw this.#changed()
  }

  #changed(): ToolError {
    return new ToolError('file-system', `"${this.#name}" changed while it was read`)
  }
}

function headFrame(head: WalObjectHead): Buffer {
  return skippableFrame(Buffer.from(JSON.stringify(head)), HEAD_MAGIC)
}
