/**
 * Uploads a body that is pulled into our own buffers: the way of every archive.
 *
 * A buffer is filled, sent as one part, and filled again when that part is stored; with all of them on their way nothing
 * is pulled, and that is the back-pressure (O8). No byte is copied between the filler and the socket.
 */
import type { CompletedPart } from '@aws-sdk/client-s3'
import { abortable } from './abortable.js'
import { tooLong } from './bounded-body.js'
import { SINGLE_PUT_BYTES, partsFor } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { abortMultipart, completeUpload, createUpload, sendPart, withAbortFailure } from './s3-multipart.js'
import type { BegunUpload } from './s3-multipart.js'
import { putObject } from './s3-objects.js'
import type { PartSource, PutOptions, StoredObject } from './storage.js'

/** Options of {@link uploadParts}. */
export interface PartUploadOptions extends PutOptions {
  maxSize: number
  buffers: PartBuffers
}

/** Stores what `source` fills. Rejects after everything on its way has ended, and with no upload left in the bucket. */
export async function uploadParts(
  access: S3Access,
  key: string,
  source: PartSource,
  options: PartUploadOptions,
): Promise<StoredObject> {
  const { ifAbsent = false, maxSize, buffers, onUploadStarted, signal } = options
  signal?.throwIfAborted()
  const { partSize, inFlight } = partsFor(access, maxSize)
  const isSmall = maxSize <= Math.max(SINGLE_PUT_BYTES, partSize) && !access.alwaysMultipart
  // One byte more than the bound: a body of exactly that size then ends within the buffer, and a longer one shows. Whole
  // parts: archives of many small files differ a little in their bounds, and are to be made in the same buffer.
  const first = buffers.take(isSmall ? Math.ceil((maxSize + 1) / partSize) * partSize : partSize)
  const filled = await abortable(source.fill(first), signal)
  if (filled > maxSize) throw tooLong(key, maxSize)
  if (filled < first.length && !access.alwaysMultipart) {
    const stored = await putObject(access, key, first.subarray(0, filled), { ifAbsent, signal })
    buffers.give(first)
    return stored
  }
  const upload = await createUpload(access, key)
  try {
    onUploadStarted?.(upload)
    const run = new PartRun(access, upload, source, { buffers, inFlight, maxSize, signal })
    const { parts, size } = await run.send(first, filled)
    const stored = await completeUpload(access, upload, { parts, size, ifAbsent, signal })
    run.giveBack()
    return stored
  } catch (error) {
    try {
      await abortMultipart(access, upload)
    } catch (failure) {
      throw withAbortFailure(error, upload, failure)
    }
    throw error
  }
}

interface RunOptions {
  buffers: PartBuffers
  /** Parts, and their buffers, on their way at a time. */
  inFlight: number
  maxSize: number
  signal: AbortSignal | undefined
}

/** The parts of one upload: fills, sends, waits. */
class PartRun {
  readonly #access: S3Access
  readonly #upload: BegunUpload
  readonly #source: PartSource
  readonly #options: RunOptions
  readonly #parts: CompletedPart[] = []
  readonly #sending = new Set<Promise<void>>()
  readonly #free: Buffer[] = []
  readonly #cancel = new AbortController()
  #failure: { cause: unknown } | undefined
  #held = 1
  #size = 0

  constructor(access: S3Access, upload: BegunUpload, source: PartSource, options: RunOptions) {
    this.#access = access
    this.#upload = upload
    this.#source = source
    this.#options = options
  }

  async send(first: Buffer, filledFirst: number): Promise<{ parts: CompletedPart[]; size: number }> {
    const { signal } = this.#options
    const abort = (): void => {
      this.#fail(signal?.reason)
    }
    signal?.addEventListener('abort', abort, { once: true })
    if (signal?.aborted === true) abort()
    try {
      await this.#pump(first, filledFirst)
    } catch (error) {
      this.#fail(error)
    } finally {
      await Promise.all(this.#sending) // these never reject
      signal?.removeEventListener('abort', abort)
    }
    if (this.#failure !== undefined) throw this.#failure.cause
    const parts = this.#parts.sort((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0))
    return { parts, size: this.#size }
  }

  /** Only after success: a request that was cut off may still be reading its buffer. */
  giveBack(): void {
    for (const buffer of this.#free) this.#options.buffers.give(buffer)
  }

  async #pump(first: Buffer, filledFirst: number): Promise<void> {
    let buffer = first
    let filled = filledFirst
    for (let partNumber = 1; this.#failure === undefined; partNumber += 1) {
      this.#size += filled
      if (this.#size > this.#options.maxSize) throw tooLong(this.#upload.key, this.#options.maxSize)
      this.#start(partNumber, buffer, filled)
      if (filled < buffer.length) return
      const next = await this.#nextBuffer(buffer.length)
      if (next === undefined) return
      filled = await abortable(this.#source.fill(next), this.#cancel.signal)
      buffer = next
      if (filled === 0) {
        this.#free.push(buffer)
        return
      }
    }
  }

  #start(partNumber: number, buffer: Buffer, filled: number): void {
    const sent = sendPart(this.#access, this.#upload, partNumber, buffer.subarray(0, filled), this.#cancel.signal)
      .then(
        (part) => {
          this.#parts.push(part)
          this.#free.push(buffer)
        },
        (error: unknown) => {
          this.#fail(error)
        },
      )
      .finally(() => this.#sending.delete(sent))
    this.#sending.add(sent)
  }

  async #nextBuffer(size: number): Promise<Buffer | undefined> {
    while (this.#failure === undefined) {
      const free = this.#free.pop()
      if (free !== undefined) return free
      if (this.#held < this.#options.inFlight) {
        this.#held += 1
        return this.#options.buffers.take(size)
      }
      await Promise.race(this.#sending)
    }
    return undefined
  }

  /** Keeps the first cause and cancels the parts on their way, whose failures then only echo it. */
  #fail(cause: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = { cause }
    this.#cancel.abort(cause)
  }
}

/** Buffers kept from one upload to the next, so that a thread packing many archives allocates only once. */
export class PartBuffers {
  readonly #mostBytes: number
  #kept: Buffer[] = []

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
  }

  /** Lets buffers of another size go first: what is kept and what is in use are one memory. */
  take(size: number): Buffer {
    this.#kept = this.#kept.filter((buffer) => buffer.length === size)
    return this.#kept.pop() ?? Buffer.allocUnsafeSlow(size)
  }

  /** Keeps buffers of one size only, that of the last upload, and one at least. */
  give(buffer: Buffer): void {
    this.#kept = this.#kept.filter((kept) => kept.length === buffer.length)
    if (this.#kept.length === 0 || (this.#kept.length + 1) * buffer.length <= this.#mostBytes) this.#kept.push(buffer)
  }
}
