/** Compares what is stored with what should be, by reading it: an ETag proves nothing (V3). */
import { createHash } from 'node:crypto'
import type { Storage } from './storage.js'

/** Whether exactly those bytes are stored under `key`. `sha256` in hex. Rejects where nothing is stored. */
export async function hasContent(
  storage: Storage,
  object: { key: string; size: number; sha256: string },
  signal?: AbortSignal,
): Promise<boolean> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of await storage.get(object.key, { signal })) {
    hash.update(chunk as Buffer)
    size += (chunk as Buffer).length
  }
  return size === object.size && hash.digest('hex') === object.sha256
}
