/**
 * Puts one WAL file into the archive: create-only, and never over something else (A1, A2, A3).
 *
 * The same content again is success, since a server that crashed pushes a segment a second time (A8); it is proven by
 * reading the stored object back, as the server recycles its copy once we say yes. Other content under the same name is
 * a conflict, and what is stored stays.
 */
import { createHash } from 'node:crypto'
import { ExistsError, ToolError } from '../errors.js'
import type { WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { walKey } from './layout.js'
import { openWalObject } from './wal-fetch.js'
import { WalObjectSource, walObjectBound, type WalObjectHead } from './wal-object.js'

/** What a push did. */
export interface PushResult {
  key: string
  outcome: 'stored' | 'already-there'
  size: number
  storedBytes: number
}

/** Stores the file at `path`, whose size and hash are in `head`. Rejects with ToolError `conflict` and stores nothing over another. */
export async function pushWalFile(
  storage: Storage,
  cluster: string,
  file: WalFile,
  path: string,
  head: WalObjectHead,
  options: { level: number; signal?: AbortSignal | undefined },
): Promise<PushResult> {
  const key = walKey(cluster, file)
  const source = new WalObjectSource(path, head, options)
  try {
    const stored = await storage.put(key, source, {
      ifAbsent: true,
      maxSize: walObjectBound(head.size),
      signal: options.signal,
    })
    return { key, outcome: 'stored', size: head.size, storedBytes: stored.size }
  } catch (error) {
    if (!(error instanceof ExistsError)) throw error
    await compareStored(storage, key, head, options.signal)
    return { key, outcome: 'already-there', size: head.size, storedBytes: 0 }
  } finally {
    source.close()
  }
}

async function compareStored(storage: Storage, key: string, ours: WalObjectHead, signal?: AbortSignal): Promise<void> {
  const hash = createHash('sha256')
  try {
    const { head, body } = await openWalObject(storage, key, signal)
    if (head.name !== ours.name || head.size !== ours.size || head.sha256 !== ours.sha256) {
      body.destroy()
      throw new ToolError('conflict', `"${ours.name}" is in the archive already, with other content`, {
        hint:
          'Two servers archive to the same place, or this one was restored and archives into its source. ' +
          'The stored file was left as it is.',
      })
    }
    for await (const bytes of body.contents()) hash.update(bytes)
  } catch (error) {
    if (error instanceof ToolError && error.code === 'damaged') throw damaged(key, error)
    throw error
  }
  if (hash.digest('hex') !== ours.sha256) throw damaged(key)
}

function damaged(key: string, cause?: unknown): ToolError {
  return new ToolError('damaged', `"${key}" is in the archive already, but damaged`, {
    hint: 'Move the damaged object away, and the server will push the file again.',
    cause,
  })
}
