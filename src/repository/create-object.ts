/**
 * Create-only writes of small objects (format rule 1): an object that exists with our bytes is our own write, retried;
 * one with other bytes is a conflict and is never touched.
 */
import { createHash } from 'node:crypto'
import { ExistsError, ToolError } from '../errors.js'
import type { Storage, StoredObject } from '../storage/storage.js'
import { readSmall } from './document.js'

/** What was stored, for the index of objects. */
export interface CreatedObject {
  key: string
  size: number
  /** Hex. */
  sha256: string
}

/** Creates `key` with `body`. Rejects with ToolError `conflict` where something else is stored there. */
export async function createObject(
  storage: Storage,
  key: string,
  body: Uint8Array | string,
  signal?: AbortSignal,
): Promise<CreatedObject> {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : body
  try {
    await storage.put(key, bytes, { ifAbsent: true, signal })
  } catch (error) {
    if (!(error instanceof ExistsError)) throw error
    const there = await readSmall(storage, key, signal)
    if (!there.equals(bytes))
      throw new ToolError('conflict', `"${key}" exists already with other content`, { cause: error })
  }
  return { key, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
}

/** Lists all objects under a prefix. */
export async function listAll(storage: Storage, prefix: string, signal?: AbortSignal): Promise<StoredObject[]> {
  const objects = []
  for await (const object of storage.list(prefix, { signal })) objects.push(object)
  return objects
}
