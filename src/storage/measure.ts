/** How fast a storage is from here: one object of 8 MiB there and back, and a few small requests. */
import { randomBytes } from 'node:crypto'
import { ToolError } from '../errors.js'
import type { Storage } from './storage.js'

const BYTES = 8 * 1024 * 1024
/** Of which the middle one counts: the first may open a connection. */
const SMALL_READS = 5

/** What was measured. */
export interface StorageSpeed {
  /** Of a small read. */
  latencyMs: number
  writeBytesPerSecond: number
  readBytesPerSecond: number
  /** The object, where it could not be deleted. */
  leftKey?: string
}

/** Writes, reads and deletes an object of random bytes under `probe/`. Rejects where writing or reading fails. */
export async function measureStorage(storage: Storage, signal?: AbortSignal): Promise<StorageSpeed> {
  const key = `probe/${randomBytes(8).toString('hex')}-speed`
  const bytes = randomBytes(BYTES)
  const writeMs = await timed(() => storage.put(key, bytes, { signal }))
  try {
    const readMs = await timed(async () => {
      const found = Buffer.concat((await (await storage.get(key, { signal })).toArray()) as Uint8Array[])
      if (!found.equals(bytes)) throw new ToolError('damaged', `"${key}" came back with other bytes than were written`)
    })
    const small: number[] = []
    for (let at = 0; at < SMALL_READS; at++) {
      small.push(await timed(async () => (await storage.get(key, { offset: at, length: 1, signal })).toArray()))
    }
    const [latencyMs = 0] = small.sort((a, b) => a - b).slice(SMALL_READS >> 1)
    const rate = (ms: number): number => Math.round(BYTES / (Math.max(ms, 0.1) / 1000))
    const leftKey = await leftOver(storage, key, signal)
    return {
      latencyMs: Math.round(latencyMs * 10) / 10,
      writeBytesPerSecond: rate(writeMs),
      readBytesPerSecond: rate(readMs),
      ...(leftKey !== undefined && { leftKey }),
    }
  } catch (error) {
    await leftOver(storage, key, AbortSignal.timeout(5000))
    throw error
  }
}

/** A host may not be allowed to delete, and need not be. */
async function leftOver(storage: Storage, key: string, signal?: AbortSignal): Promise<string | undefined> {
  try {
    await storage.delete([key], { signal })
    return undefined
  } catch {
    return key
  }
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await action()
  return performance.now() - began
}
