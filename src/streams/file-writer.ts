/**
 * Writes one file from beginning to end, past the page cache where the file system lets it.
 *
 * Writing is what a restore costs: with O_DIRECT from page-aligned memory it takes a fraction of the time and CPU of
 * buffered writes, and the machine's page cache stays with its users. Whatever does not fit (odd addresses or lengths,
 * tmpfs, macOS) goes on buffered from that offset, with the same result. Such a write waits for the disk, so the caller
 * need not: it goes on with other memory meanwhile.
 */
import { closeSync, constants, fchmodSync, fchownSync, ftruncateSync, openSync, write, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

const writeLater = promisify(write)

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
  /** The writes that may still be under way, one after the other; they are all of a file that began with O_DIRECT. */
  #writes: Promise<void> | undefined

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

  /**
   * Writes the next bytes. `last`: nothing of use follows them in their buffer, so that it may be written over. Where the
   * write goes on, a promise: until it is settled the memory belongs to it. It rejects as what is not written.
   */
  write(bytes: Uint8Array, last: boolean): Promise<void> | undefined {
    const position = this.#position
    this.#position += bytes.length
    if (!this.#direct && !this.#writes) {
      this.#attempt('write', () => {
        this.#writeAll(bytes, position)
      })
      return undefined
    }
    return this.#after(async () => {
      try {
        if (this.#direct && !(await this.#writeDirect(bytes, position, last))) this.#goOnBuffered()
        if (!this.#direct) this.#writeAll(bytes, position)
      } catch (cause) {
        throw this.#failure('write', cause)
      }
    })
  }

  /**
   * Sets mode and owner and closes, after all writes: a promise where there are some. The file is not yet synced: that
   * happens once for all files (R8).
   */
  finish(): Promise<void> | undefined {
    const finish = (): void => {
      try {
        this.#attempt('finish', () => {
          if (this.#written > this.#options.size) ftruncateSync(this.#descriptor, this.#options.size)
          const { owner, mode } = this.#options
          if (owner) fchownSync(this.#descriptor, owner.uid, owner.gid)
          fchmodSync(this.#descriptor, mode) // after chown; independent of the umask (R3)
        })
      } finally {
        this.#close()
      }
    }
    if (this.#writes) return this.#after(finish)
    finish()
    return undefined
  }

  /** Closes it as it is, once nothing writes to it any more: its descriptor may be another file's then. */
  async close(): Promise<void> {
    await this.#writes?.catch(() => undefined) // whoever began it was told
    this.#close()
  }

  #after(step: () => void | Promise<void>): Promise<void> {
    const writes = (this.#writes ?? Promise.resolve()).then(step).catch((error: unknown) => {
      this.#close()
      throw error
    })
    writes.catch(() => undefined) // as close()
    this.#writes = writes
    return writes
  }

  #close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor)
    this.#descriptor = -1
  }

  async #writeDirect(bytes: Uint8Array, position: number, last: boolean): Promise<boolean> {
    const padded = Math.ceil(bytes.length / ALIGNMENT) * ALIGNMENT
    const fits = bytes.byteOffset % ALIGNMENT === 0 && bytes.byteOffset + padded <= bytes.buffer.byteLength
    if (!fits || position % ALIGNMENT !== 0 || (padded !== bytes.length && !last)) return false
    const whole = new Uint8Array(bytes.buffer, bytes.byteOffset, padded)
    whole.fill(0, bytes.length)
    try {
      let done = 0
      while (done < padded) {
        const { bytesWritten } = await writeLater(this.#descriptor, whole, done, padded - done, position + done)
        done += bytesWritten
      }
      this.#written = position + padded
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

  #writeAll(bytes: Uint8Array, position: number): void {
    let done = 0
    while (done < bytes.length) {
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, position + done)
    }
    this.#written = position + bytes.length
  }

  #attempt<T>(what: string, action: () => T): T {
    try {
      return action()
    } catch (cause) {
      throw this.#failure(what, cause)
    }
  }

  #failure(what: string, cause: unknown): ToolError {
    return new ToolError('file-system', `could not ${what} "${this.#path.toString()}": ${reasonOf(cause)}`, { cause })
  }
}
