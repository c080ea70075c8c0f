/**
 * The stored bytes of archives, one after the other, as a thread reads them.
 *
 * A near store is one stream: it is faster than what is done with its bytes. Of a far one, a connection gives no more than
 * its window in each round trip, and a thread that decompresses asks for nothing meanwhile: so ranges of the archive are
 * loaded side by side, ahead of their turn, into buffers that take no more than the memory that a thread may use for parts
 * (a backup uploads from it). Objects are written once, and every file is compared with its checksum: ranges of two
 * versions would show.
 */
import { ToolError } from '../errors.js'
import { letGo, lettingGo } from '../streams/let-go.js'
import { FAR_MS, type Storage } from '../storage/storage.js'

/** Long enough for a connection to reach its speed, small enough for several within the memory of a thread. */
const RANGE_BYTES = 2 * 1024 * 1024

/** One for each thread: it keeps buffers, and what it knows of the distance. */
export class ArchiveReader {
  readonly #storage: Pick<Storage, 'get' | 'head'>
  readonly #most: number
  readonly #buffers: Uint8Array[] = []
  readonly #now: () => number
  #isFar: boolean | undefined

  /** `aheadBytes`: memory for what is loaded ahead. */
  constructor(
    storage: Pick<Storage, 'get' | 'head'>,
    { aheadBytes = 0, now = () => performance.now() }: { aheadBytes?: number; now?: () => number } = {},
  ) {
    this.#storage = storage
    this.#most = Math.floor(aheadBytes / RANGE_BYTES)
    this.#now = now
  }

  /** The bytes of the object in order; each piece is valid until the next is asked for. `size` is what was recorded. */
  async *read(key: string, size: number, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const isWorthIt = this.#most >= 2 && size > RANGE_BYTES
    if (isWorthIt) this.#isFar ??= (await this.#distance(key, signal)) >= FAR_MS
    if (isWorthIt && this.#isFar) yield* this.#readAhead(key, size, signal)
    else yield* lettingGo(await this.#storage.get(key, { signal })) // leaving the loop destroys the stream
  }

  async *#readAhead(key: string, size: number, outer: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const stop = new AbortController()
    const signal = AbortSignal.any([outer, stop.signal])
    const queue: { buffer: Uint8Array; loaded: Promise<Uint8Array> }[] = []
    let next = 0
    const begin = (buffer: Uint8Array): void => {
      const room = buffer.subarray(0, Math.min(RANGE_BYTES, size - next))
      const loaded = this.#load(key, next, room, signal)
      loaded.catch(() => undefined) // whoever comes to its turn is told
      queue.push({ buffer, loaded })
      next += room.length
    }
    try {
      for (let index = 0; index < this.#most && next < size; index++) begin((this.#buffers[index] ??= allocate()))
      for (let head = queue[0]; head; head = queue[0]) {
        yield await head.loaded
        queue.shift()
        if (next < size) begin(head.buffer)
      }
    } finally {
      // nothing may still be written into buffers that the next archive takes
      stop.abort()
      await Promise.allSettled(queue.map(({ loaded }) => loaded))
    }
  }

  async #load(key: string, offset: number, room: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const body = await this.#storage.get(key, { offset, length: room.length, signal })
    let filled = 0
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      room.set(chunk, filled)
      filled += chunk.length
      letGo(chunk)
    }
    if (filled === room.length) return room
    throw new ToolError('damaged', `"${key}" is damaged: it ends after ${offset + filled} bytes`)
  }

  /** The quicker one of two answers: the first may have opened the connection. */
  async #distance(key: string, signal: AbortSignal): Promise<number> {
    let quickest = Infinity
    for (let time = 0; time < 2 && quickest >= FAR_MS; time++) {
      const began = this.#now()
      await this.#storage.head(key, { signal })
      quickest = Math.min(quickest, this.#now() - began)
    }
    return quickest
  }
}

function allocate(): Uint8Array {
  return Buffer.allocUnsafeSlow(RANGE_BYTES)
}
