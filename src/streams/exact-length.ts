/**
 * Reads exactly the announced number of bytes of a file that a running server may grow, shrink or remove.
 *
 * Bytes beyond the announced size are left out, and what is missing is given as zeros: WAL replay restores either,
 * as sendFile() in basebackup.c relies on (F1, F2). An error while reading is never papered over with zeros (F5).
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

/** An open file that promises `size` bytes. Synchronous: it is read on worker threads. */
export class ExactFile {
  readonly size: number
  #descriptor: number
  readonly #path: Buffer
  #position = 0
  #padded = false

  /**
   * Opens a regular file, or returns undefined where it is gone (W11, F4). Neither follows a symbolic link nor waits on
   * a FIFO that took the file's place since it was listed (F8). `growTo`: a file that has grown since is read whole, up
   * to that many bytes; for what no WAL restores, as configuration files.
   */
  static open(path: Buffer, size: number, growTo = 0): ExactFile | undefined {
    let descriptor
    try {
      descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    } catch (cause) {
      if (systemErrorCode(cause) === 'ENOENT') return undefined
      throw new ToolError('file-system', `could not open "${path.toString()}": ${reasonOf(cause)}`, { cause })
    }
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) {
      closeSync(descriptor)
      throw new ToolError('file-system', `could not read "${path.toString()}": it is no regular file any more`)
    }
    return new ExactFile(descriptor, path, Math.max(size, Math.min(stat.size, growTo)))
  }

  private constructor(descriptor: number, path: Buffer, size: number) {
    this.#descriptor = descriptor
    this.#path = path
    this.size = size
  }

  /** The file was shorter than announced when it was read. */
  get padded(): boolean {
    return this.#padded
  }

  /** Bytes that were not yet read. */
  get rest(): number {
    return this.size - this.#position
  }

  /** Fills all of `room` (at most {@link rest} bytes) with the next bytes. */
  read(room: Uint8Array): void {
    const filled = this.#readAt(room, this.#position)
    if (filled < room.length) {
      room.fill(0, filled)
      this.#padded = true
    }
    this.#position += room.length
  }

  /** Reads again what lies at `position`, which was read before; what is gone by now is zeros. */
  readAgain(room: Uint8Array, position: number): void {
    room.fill(0, this.#readAt(room, position))
  }

  /** May be called twice: the number of a closed descriptor can belong to another file by then. */
  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor)
    this.#descriptor = -1
  }

  #readAt(room: Uint8Array, position: number): number {
    let filled = 0
    try {
      while (filled < room.length) {
        const read = readSync(this.#descriptor, room, filled, room.length - filled, position + filled)
        if (read === 0) break
        filled += read
      }
    } catch (cause) {
      throw new ToolError('file-system', `could not read "${this.#path.toString()}": ${reasonOf(cause)}`, { cause })
    }
    return filled
  }
}
