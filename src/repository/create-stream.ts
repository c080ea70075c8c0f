/** Create-only writes of objects that are made while they are sent (manifest, indexes): nothing is staged. */
import { createHash } from 'node:crypto'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { ExistsError, ToolError } from '../errors.js'
import { hasContent } from '../storage/has-content.js'
import type { PartSource, Storage } from '../storage/storage.js'
import { textChunks } from '../streams/text-chunks.js'
import type { CreatedObject } from './create-object.js'

/** What 10,000 parts of the smallest size hold (O2): nothing is known of the length, and this asks for no larger parts. */
const LONGEST = 10_000 * 5 * 1024 * 1024

/**
 * Creates `key` from chunks; each may be overwritten when the next is asked for, since they go straight into the buffers of
 * parts. Rejects with ToolError `conflict` where something else is stored there.
 */
export async function createFromStream(
  storage: Storage,
  key: string,
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  signal?: AbortSignal,
): Promise<CreatedObject> {
  const source = new ChunkSource(chunks)
  let echo: ExistsError | undefined
  try {
    await storage.put(key, source, { ifAbsent: true, maxSize: LONGEST, signal })
  } catch (error) {
    if (!(error instanceof ExistsError)) throw error
    echo = error
  } finally {
    await source.end()
  }
  const object = { key, size: source.size, sha256: source.digest() }
  if (echo && !(await hasContent(storage, object, signal))) {
    throw new ToolError('conflict', `"${key}" exists already with other content`, { cause: echo })
  }
  return object
}

/** The same of text. */
export function createFromTexts(
  storage: Storage,
  key: string,
  texts: Iterable<string>,
  signal?: AbortSignal,
): Promise<CreatedObject> {
  return createFromStream(storage, key, textChunks(texts), signal)
}

class ChunkSource implements PartSource {
  size = 0
  readonly #hash = createHash('sha256')
  readonly #chunks: AsyncIterator<Buffer> | Iterator<Buffer>
  #rest: Uint8Array = Buffer.alloc(0)

  constructor(chunks: AsyncIterable<Buffer> | Iterable<Buffer>) {
    this.#chunks = Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
  }

  async fill(buffer: Uint8Array): Promise<number> {
    let filled = 0
    while (filled < buffer.length) {
      if (this.#rest.length === 0) {
        // a part of a manifest is tens of thousands of files: the heartbeat and other parts must get their turn
        await yieldToEventLoop()
        const next = await this.#chunks.next()
        if (next.done) break
        this.#rest = next.value
      }
      const piece = this.#rest.subarray(0, buffer.length - filled)
      buffer.set(piece, filled)
      filled += piece.length
      this.#rest = this.#rest.subarray(piece.length)
    }
    this.#hash.update(buffer.subarray(0, filled))
    this.size += filled
    return filled
  }

  /** Hex, of all that was given out. */
  digest(): string {
    return this.#hash.digest('hex')
  }

  async end(): Promise<void> {
    await this.#chunks.return?.()
  }
}
