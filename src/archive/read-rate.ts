/** How fast archives can be read here and now: from the store, and through the decompressor. */
import type { Storage } from '../storage/storage.js'
import { decompress } from '../streams/zstd-decompress.js'

const MiB = 1024 * 1024
const BUFFER_BYTES = 8 * MiB
/** Enough to get over the first round trips, and not much of anybody's bill. */
const SAMPLE_BYTES = 24 * MiB

/** Rates of one moment. */
export interface ReadRate {
  /** Stored bytes a second, over all connections. */
  storedBytesPerSecond: number
  connections: number
}

/**
 * Reads the beginning of an archive of `size` bytes over several connections at a time and decompresses it, as a restore
 * does; what it gives is thrown away.
 */
export async function measureReadRate(
  storage: Storage,
  key: string,
  { size, connections, signal }: { size: number; connections: number; signal: AbortSignal },
): Promise<ReadRate> {
  const length = Math.min(size, SAMPLE_BYTES)
  const began = performance.now()
  const read = await Promise.all(Array.from({ length: connections }, () => readBeginning(storage, key, length, signal)))
  const seconds = Math.max(performance.now() - began, 1) / 1000
  const bytes = read.reduce((sum, count) => sum + count, 0)
  return { storedBytesPerSecond: bytes / seconds, connections }
}

async function readBeginning(storage: Storage, key: string, length: number, signal: AbortSignal): Promise<number> {
  const body = await storage.get(key, { length, signal })
  let taken = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of body) {
      taken += (chunk as Buffer).length
      yield chunk as Buffer
    }
  }
  try {
    const pieces = decompress(counted(), [new Uint8Array(BUFFER_BYTES)], key)
    // the sample ends within a frame as a rule, which is an error only to somebody who needs all of it
    for (let next = await pieces.next(); !next.done && taken < length; next = await pieces.next());
    return taken
  } finally {
    body.destroy()
  }
}
