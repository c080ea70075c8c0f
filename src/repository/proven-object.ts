/** Objects of a backup, compared with the hash that its index of objects has of them (format rule 3). */
import { createHash, type Hash } from 'node:crypto'
import { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { readSmall } from './document.js'

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

/** Throws ToolError `damaged` where the hash of all bytes is not the expected one. */
export function checkHash(key: string, expected: string | undefined, hash: Hash): void {
  if (hash.digest('hex') !== expected)
    throw new ToolError('damaged', `"${key}" is damaged: its SHA-256 is not the recorded one`)
}
