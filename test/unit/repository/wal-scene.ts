/** WAL objects in a directory, for tests of what decides by them. */
import type { ClusterIdentity } from '#src/repository/identity.js'
import { PushMemory } from '#src/repository/push-memory.js'
import { lookAtWalFile, WalCompressor } from '#src/repository/wal-object.js'
import { pushWalFile, type PushResult } from '#src/repository/wal-push.js'
import { parseWalFileName } from '#src/postgres/wal-segment.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

export const WAL_CLUSTER: ClusterIdentity = {
  formatVersion: '1.0',
  requires: [],
  name: 'pg18-7000000000000000001',
  systemIdentifier: '7000000000000000001',
  postgresMajor: 18,
  walSegmentSize: 1024 * 1024,
}

/** Runs a test with an empty directory and storage in another one, and removes both. */
export async function withDirectory(
  run: (scene: { storage: Storage; directory: string }) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'pgsluice-wal-'))
  mkdirSync(join(directory, 'repository'))
  const storage = await openStorage({ url: pathToFileURL(join(directory, 'repository')).href })
  try {
    await run({ storage, directory })
  } finally {
    storage.close()
    rmSync(directory, { recursive: true })
  }
}

/** Stores a WAL file with that content. */
export async function storeWal(
  storage: Storage,
  directory: string,
  name: string,
  content: string | Uint8Array,
  options: Partial<Parameters<typeof pushWalFile>[5]> = {},
): Promise<PushResult> {
  const path = join(directory, name)
  writeFileSync(path, content)
  const own = { compressor: new WalCompressor(1), memory: new PushMemory() }
  const file = parseWalFileName(name)!
  return pushWalFile(storage, WAL_CLUSTER.name, file, path, await lookAtWalFile(path), { ...own, ...options })
}
