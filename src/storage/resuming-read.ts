/**
 * A download that survives broken connections: it goes on at the byte where it stopped.
 *
 * The SDK retries a request until its headers are there; what breaks in mid-body is ours. Each continuation asks for the
 * same ETag, so that two versions of an object are never spliced. Nothing is opened again before the reader asks for
 * more: a reader slower than the store's patience costs one request, not a loop of them.
 */
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { ToolError, reasonOf } from '../errors.js'
import type { RateLimit } from '../streams/rate-limit.js'

/** What to open. */
export interface RangeWanted {
  offset: number
  /** Number of bytes; undefined: to the end. */
  length: number | undefined
  /** The version that was begun with. */
  ifMatch: string | undefined
  signal: AbortSignal
}

/** An answer whose body is about to come. */
export interface OpenedRange {
  body: Readable
  /** Bytes that the body has to have. */
  length: number
  etag: string | undefined
}

/** Options of {@link resumingRead}. */
export interface ResumingReadOptions {
  /** For messages. */
  key: string
  offset: number
  length: number | undefined
  signal?: AbortSignal | undefined
  /** Most bytes a second, over all downloads that share it. */
  limit?: RateLimit | undefined
  /** Whether opening again after this error can help. */
  isTransient: (error: unknown) => boolean
  /** Continuations without a single new byte before it gives up. Default 5. */
  maxAttempts?: number | undefined
  /** Pause before the second of them, doubled for each further one. Default 200 ms. */
  backoffMs?: number | undefined
}

const DEFAULT_MAX_ATTEMPTS = 5
const DEFAULT_BACKOFF_MS = 200
const MAX_BACKOFF_MS = 10_000

/** Opens the range, so that an absence rejects before any byte, and resolves to a stream that repairs itself. */
export async function resumingRead(
  open: (range: RangeWanted) => Promise<OpenedRange>,
  options: ResumingReadOptions,
): Promise<Readable> {
  options.signal?.throwIfAborted()
  const cancel = new AbortController()
  const abort = (): void => {
    cancel.abort(options.signal?.reason)
  }
  options.signal?.addEventListener('abort', abort, { once: true })
  try {
    const { offset, length } = options
    const opened = await open({ offset, length, ifMatch: undefined, signal: cancel.signal })
    return new ResumingStream(open, opened, options)
  } finally {
    options.signal?.removeEventListener('abort', abort)
  }
}

class ResumingStream extends Readable {
  readonly #open: (range: RangeWanted) => Promise<OpenedRange>
  readonly #options: ResumingReadOptions
  readonly #etag: string | undefined
  readonly #end: number
  readonly #cancel = new AbortController()
  readonly #abort: () => void
  #position: number
  #body: Readable | undefined
  #isWanted = false
  #isOpening = false
  #pause: NodeJS.Timeout | undefined
  #fruitless = 0
  #lastError: unknown

  constructor(open: (range: RangeWanted) => Promise<OpenedRange>, opened: OpenedRange, options: ResumingReadOptions) {
    super()
    this.#open = open
    this.#options = options
    this.#etag = opened.etag
    this.#position = options.offset
    this.#end = options.offset + opened.length
    this.#abort = () => {
      this.destroy(options.signal?.reason as Error)
    }
    options.signal?.addEventListener('abort', this.#abort, { once: true })
    this.#attach(opened.body)
    if (options.signal?.aborted === true) this.#abort()
  }

  override _read(): void {
    this.#isWanted = true
    if (this.#pause !== undefined) return
    if (this.#body !== undefined) this.#body.resume()
    else this.#reopen()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#options.signal?.removeEventListener('abort', this.#abort)
    clearTimeout(this.#pause)
    this.#cancel.abort(error ?? undefined)
    this.#body?.destroy()
    this.#body = undefined
    callback(error)
  }

  #attach(body: Readable): void {
    this.#body = body
    body.pause()
    body.on('data', (chunk: Uint8Array) => {
      if (this.#body !== body) return
      this.#position += chunk.byteLength
      this.#fruitless = 0
      if (this.#position > this.#end) {
        this.destroy(this.#failure('more bytes came than were announced'))
        return
      }
      this.#isWanted = this.push(chunk)
      if (!this.#isWanted) body.pause()
      const ms = this.#options.limit?.reserve(chunk.byteLength) ?? 0
      if (ms >= 1) this.#rest(body, ms)
    })
    // a body destroyed by a timeout says 'error', one cut by the other side 'error' or an early 'end', and some only 'close'
    const ended = (error?: unknown): void => {
      if (this.#body === body) this.#ended(error)
    }
    body.on('error', ended)
    body.on('end', ended)
    body.on('close', ended)
    if (this.#isWanted && this.#pause === undefined) body.resume()
  }

  /** The bytes are here and count: what follows them waits, and with the socket full the store waits too. */
  #rest(body: Readable, ms: number): void {
    body.pause()
    clearTimeout(this.#pause)
    this.#pause = setTimeout(() => {
      this.#pause = undefined
      if (this.#isWanted && !this.destroyed) this._read()
    }, ms)
  }

  #ended(error: unknown): void {
    const body = this.#body
    this.#body = undefined
    body?.destroy()
    if (this.#position === this.#end) {
      this.push(null)
      return
    }
    this.#lastError = error ?? this.#lastError
    if (this.#isWanted) this.#reopen()
  }

  #reopen(): void {
    if (this.#isOpening || this.destroyed || this.readableEnded || this.#position >= this.#end) return
    this.#isOpening = true
    this.#openAgain().then(
      (body) => {
        this.#isOpening = false
        if (this.destroyed) body.destroy()
        else this.#attach(body)
      },
      (error: unknown) => {
        this.#isOpening = false
        this.destroy(error as Error)
      },
    )
  }

  async #openAgain(): Promise<Readable> {
    const { isTransient, maxAttempts = DEFAULT_MAX_ATTEMPTS, backoffMs = DEFAULT_BACKOFF_MS } = this.#options
    const signal = this.#cancel.signal
    for (;;) {
      this.#fruitless += 1
      if (this.#fruitless > maxAttempts) throw this.#failure(reasonOf(this.#lastError ?? 'the connection ended early'))
      const pause = this.#fruitless === 1 ? 0 : Math.min(backoffMs * 2 ** (this.#fruitless - 2), MAX_BACKOFF_MS)
      if (pause > 0) await delay(pause, undefined, { signal })
      try {
        const length = this.#end - this.#position
        const opened = await this.#open({ offset: this.#position, length, ifMatch: this.#etag, signal })
        if (opened.length === length) return opened.body
        opened.body.destroy()
        throw this.#failure(`${opened.length} bytes are left where ${length} were`)
      } catch (error) {
        if (signal.aborted || !isTransient(error)) throw error
        this.#lastError = error
      }
    }
  }

  #failure(reason: string): ToolError {
    const { key, offset } = this.#options
    const progress = `${this.#position - offset} of ${this.#end - offset} bytes`
    return new ToolError('storage', `could not read "${key}" after ${progress}: ${reason}`, { cause: this.#lastError })
  }
}
