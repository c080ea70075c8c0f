/** Objects of a backup, compared with the hash that its index of objects has of them (format rule 3). */
import { createHash } from 'node:crypto'
import type { Storage } from '../storage/storage.js'
import { readSmall } from './document.js'
import { checkHash } from './hashed-object.js'

/** A small object. Throws ToolError `damaged` where its SHA-256 is not `sha256`. */
export async function readProven(
  storage: Storage,
  key: string,
  sha256: string | undefined,
  signal: AbortSignal,
): Promise<Buffer> {
  const bytes = await readSmall(storage, key, signal)
  checkHash(key, sha256, createHash('sha256').update(bytes))
  return bytes
}
