/** Deletes many objects in batches, counts them, and collects what the store would not let go rather than stop at it (D8, D9). */
import { DeleteError } from '../errors.js'
import type { Storage, StoredObject } from '../storage/storage.js'

/** As many as S3 takes in one request. */
const BATCH = 1000

/** See the head of this file. A failure that is not of single keys, like an outage, ends it. */
export class Deleter {
  readonly #storage: Storage
  readonly #signal: AbortSignal | undefined
  #batch: { key: string; size: number }[] = []
  /** Deleted so far. */
  objects = 0
  bytes = 0
  readonly failed: { key: string; reason: string }[] = []

  constructor(storage: Storage, signal?: AbortSignal) {
    this.#storage = storage
    this.#signal = signal
  }

  /** Takes an object in, and deletes a full batch. */
  async take({ key, size }: StoredObject): Promise<void> {
    this.add(key, size)
    if (this.#batch.length >= BATCH) await this.flush()
  }

  /** Takes in a key. */
  add(key: string, size = 0): void {
    this.#batch.push({ key, size })
  }

  /** Deletes what was taken in. */
  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    if (batch.length === 0) return
    const failed = new Set<string>()
    try {
      await this.#storage.delete(
        batch.map(({ key }) => key),
        { signal: this.#signal },
      )
    } catch (error) {
      if (!(error instanceof DeleteError)) throw error
      this.failed.push(...error.failed)
      for (const { key } of error.failed) failed.add(key)
    }
    for (const { key, size } of batch) {
      if (failed.has(key)) continue
      this.objects++
      this.bytes += size
    }
  }
}
