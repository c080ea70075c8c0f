/**
 * Writes one file from beginning to end, past the page cache where the file system lets it.
 *
 * Writing is what a restore costs: with O_DIRECT from page-aligned memory it takes a fraction of the time and CPU of
 * buffered writes, and the machine's page cache stays with its users. Whatever does not fit (odd addresses or lengths,
 * tmpfs, macOS) goes on buffered from that offset, with the same result.
 */
import { closeSync, constants, fchmodSync, fchownSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

/** O_DIRECT wants address, offset and length to be multiples of this (the page size; the block size is no larger). */
const ALIGNMENT = 4096
/** Smaller files are not worth an unbuffered write each. */
const DIRECT_FROM_BYTES = 1024 * 1024

/** What the file is to be. */
export interface FileWriterOptions {
  size: number
  mode: number
  owner?: { uid: number; gid: number } | undefined
}

/** A file that is being written. It must not exist before, and symbolic links are not followed (R4). */
export class FileWriter {
  readonly #path: Buffer
  readonly #options: FileWriterOptions
  #descriptor: number
  #direct = false
  #position = 0
  #written = 0

  constructor(path: Buffer, options: FileWriterOptions) {
    this.#path = path
    this.#options = options
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    this.#descriptor = this.#attempt('create', () => {
      // the constant is absent on macOS
      const direct = options.size >= DIRECT_FROM_BYTES ? (constants.O_DIRECT as number | undefined) : undefined
      if (direct !== undefined) {
        try {
          const descriptor = openSync(path, flags | direct, options.mode)
          this.#direct = true
          return descriptor
        } catch (error) {
          if (systemErrorCode(error) !== 'EINVAL') throw error
          // some file systems create the file before they refuse the flag
          return openSync(path, (flags & ~constants.O_EXCL) | constants.O_TRUNC, options.mode)
        }
      }
      return openSync(path, flags, options.mode)
    })
  }

  /** Bytes of the file that were not yet given. */
  get rest(): number {
    return this.#options.size - this.#position
  }

  /** Writes the next bytes. `last`: nothing of use follows them in their buffer, so that it may be written over. */
  write(bytes: Uint8Array, last: boolean): void {
    this.#attempt('write', () => {
      if (this.#direct && !this.#writeDirect(bytes, last)) this.#goOnBuffered()
      if (!this.#direct) this.#writeAll(bytes)
    })
    this.#position += bytes.length
  }

  /** Sets mode and owner and closes. The file is not yet synced: that happens once for all files (R8). */
  finish(): void {
    this.#attempt('finish', () => {
      if (this.#written > this.#options.size) ftruncateSync(this.#descriptor, this.#options.size)
      const { owner, mode } = this.#options
      if (owner) fchownSync(this.#descriptor, owner.uid, owner.gid)
      fchmodSync(this.#descriptor, mode) // after chown; independent of the umask (R3)
    })
    this.close()
  }

  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor)
    this.#descriptor = -1
  }

  #writeDirect(bytes: Uint8Array, last: boolean): boolean {
    const padded = Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT
    const fits = bytes.byteOffset % ALIGNMENT === 0 && bytes.byteOffset + padded <= bytes.buffer.byteLength
    if (!fits || this.#position % ALIGNMENT !== 0 || (padded !== bytes.length && !last)) return false
    const whole = new Uint8Array(bytes.buffer, bytes.byteOffset, padded)
    whole.fill(0, bytes.length)
    try {
      this.#writeAll(whole)
      return true
    } catch (error) {
      if (systemErrorCode(error) === 'EINVAL') return false
      throw error
    }
  }

  #goOnBuffered(): void {
    closeSync(this.#descriptor)
    this.#descriptor = -1
    this.#descriptor = openSync(this.#path, constants.O_WRONLY | constants.O_NOFOLLOW)
    this.#direct = false
  }

  #writeAll(bytes: Uint8Array): void {
    let done = 0
    while (done < bytes.length) {
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, this.#position + done)
    }
    this.#written = this.#position + bytes.length
  }

  #attempt<T>(what: string, action: () => T): T {
    try {
      return action()
    } catch (cause) {
      throw new ToolError('file-system', `could not ${what} "${this.#path.toString()}": ${reasonOf(cause)}`, { cause })
    }
  }
}
