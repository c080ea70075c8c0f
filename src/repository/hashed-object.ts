/** Reads an object whole, and hashes the stored bytes as they pass: who uses them compares the hash at the end (format rule 3). */
import type { Hash } from 'node:crypto'
import { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'

/** The stored bytes, each of which `hash` has taken when the iteration ends. The connection ends with the iteration, however that ends. */
export async function* hashedObject(
  storage: Storage,
  key: string,
  hash: Hash,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const body = await storage.get(key, { signal })
  try {
    for await (const chunk of body) {
      hash.update(chunk as Buffer)
      yield chunk as Buffer
    }
  } finally {
    body.destroy()
  }
}

/** Throws ToolError `damaged` where the hash of all bytes is not the expected one. */
export function checkHash(key: string, expected: string | undefined, hash: Hash): void {
  if (hash.digest('hex') !== expected)
    throw new ToolError('damaged', `"${key}" is damaged: its SHA-256 is not the recorded one`)
}
