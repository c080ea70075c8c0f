/**
 * Create-only writes of long text (the manifest, which is not compressed): made in one buffer for text and pulled from there
 * into the buffers of parts, with no copy that waits for the collector.
 */
import { createHash } from 'node:crypto'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import type { PartSource, Storage } from '../storage/storage.js'
import { textChunks } from '../streams/text-chunks.js'
import type { CreatedObject } from './create-object.js'
import { createOnly } from './create-only.js'

/** What 10,000 parts of the smallest size hold (O2): nothing is known of the length, and this asks for no larger parts. */
const LONGEST = 10_000 * 5 * 1024 * 1024

/** Creates `key` from texts, as UTF-8. Rejects with ToolError `conflict` where something else is stored there. */
export async function createFromTexts(
  storage: Storage,
  key: string,
  texts: Iterable<string>,
  signal?: AbortSignal,
): Promise<CreatedObject> {
  const source = new TextSource(texts)
  try {
    return await createOnly(storage, key, source, () => source.made(), { maxSize: LONGEST, signal })
  } finally {
    source.end()
  }
}

class TextSource implements PartSource {
  readonly #hash = createHash('sha256')
  readonly #chunks: Generator<Buffer, void, undefined>
  #rest: Uint8Array = Buffer.alloc(0)
  #size = 0

  constructor(texts: Iterable<string>) {
    this.#chunks = textChunks(texts)
  }

  async fill(buffer: Uint8Array): Promise<number> {
    let filled = 0
    while (filled < buffer.length) {
      if (this.#rest.length === 0) {
        // a part of a manifest is tens of thousands of files: the heartbeat and other parts must get their turn
        await yieldToEventLoop()
        const next = this.#chunks.next()
        if (next.done) break
        this.#rest = next.value
      }
      const piece = this.#rest.subarray(0, buffer.length - filled)
      buffer.set(piece, filled)
      filled += piece.length
      this.#rest = this.#rest.subarray(piece.length)
    }
    this.#hash.update(buffer.subarray(0, filled))
    this.#size += filled
    return filled
  }

  /** Of all that was given out. */
  made(): { size: number; sha256: string } {
    return { size: this.#size, sha256: this.#hash.digest('hex') }
  }

  end(): void {
    this.#chunks.return()
  }
}
