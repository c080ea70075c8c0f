/**
 * Puts one WAL file into the archive: create-only, and never over something else (A1, A2, A3).
 *
 * The same content again is success, since a server that crashed pushes a segment a second time (A8); it is proven by
 * reading the stored object back, as the server recycles its copy once we say yes. Other content under the same name is
 * a conflict, and what is stored stays.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { ExistsError, ToolError } from '../errors.js'
import type { WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { StoreAbilities } from '../storage/storage-options.js'
import { walKey } from './layout.js'
import type { PushMemory } from './push-memory.js'
import { openWalObject, readWalObjectHead } from './wal-object-read.js'
import {
  WalObjectBody,
  walObjectBound,
  type WalCompressor,
  type WalFileFacts,
  type WalObjectHead,
} from './wal-object.js'

/** How long another push that looked before ours was there may take to be seen, where the store does not decide (A3). */
const RACE_PAUSE_MS = 250

/** What a push did. */
export interface PushResult {
  key: string
  outcome: 'stored' | 'already-there'
  size: number
  storedBytes: number
}

/** How to store a WAL file. */
export interface PushOptions {
  /** Used by one push at a time. */
  compressor: WalCompressor
  /** Shared by the pushes that are in work at the same time. */
  memory: PushMemory
  abilities?: StoreAbilities | undefined
  signal?: AbortSignal | undefined
}

/** Stores the file at `path`, which was looked at. Rejects with ToolError `conflict` and stores nothing over another. */
export async function pushWalFile(
  storage: Storage,
  cluster: string,
  file: WalFile,
  path: string,
  read: WalFileFacts,
  options: PushOptions,
): Promise<PushResult> {
  const key = walKey(cluster, file)
  const source = new WalObjectBody(file.name, path, read, options.compressor)
  const { memory } = options
  const { size } = read
  try {
    // before the storage takes a buffer: two that were filled once are two in memory
    await memory.turn(source)
    const body = {
      fill: async (buffer: Uint8Array): Promise<number> => {
        const filled = await source.fill(buffer)
        memory.filled(source, filled)
        return filled
      },
    }
    const stored = await storage.put(key, body, {
      ifAbsent: true,
      maxSize: walObjectBound(size),
      signal: options.signal,
    })
    if (options.abilities && !(options.abilities.createOnlyPut && options.abilities.createOnlyMultipart)) {
      // a look before the write is all that such a store has: look after it, too, that nobody came between (A3)
      await sleep(RACE_PAUSE_MS, undefined, { signal: options.signal })
      checkSame(await readWalObjectHead(storage, key, options.signal), source.head())
    }
    return { key, outcome: 'stored', size, storedBytes: stored.size }
  } catch (error) {
    if (!(error instanceof ExistsError)) throw error
    await compareStored(storage, key, source.head(), options.signal)
    return { key, outcome: 'already-there', size, storedBytes: 0 }
  } finally {
    memory.release(source)
    source.close()
  }
}

async function compareStored(storage: Storage, key: string, ours: WalObjectHead, signal?: AbortSignal): Promise<void> {
  const hash = createHash('sha256')
  try {
    const { head, body } = await openWalObject(storage, key, signal)
    try {
      checkSame(head, ours)
      for await (const bytes of body.contents()) hash.update(bytes)
    } finally {
      body.destroy()
    }
  } catch (error) {
    if (error instanceof ToolError && error.code === 'damaged') throw damaged(key, error)
    throw error
  }
  if (hash.digest('hex') !== ours.sha256) throw damaged(key)
}

function checkSame(stored: WalObjectHead, ours: WalObjectHead): void {
  if (stored.name === ours.name && stored.size === ours.size && stored.sha256 === ours.sha256) return
  throw new ToolError('conflict', `"${ours.name}" is in the archive already, with other content`, {
    hint:
      'Two servers archive to the same place, or this one was restored and archives into its source. ' +
      'The stored file was left as it is.',
  })
}

function damaged(key: string, cause?: unknown): ToolError {
  return new ToolError('damaged', `"${key}" is in the archive already, but damaged`, {
    hint: 'Move the damaged object away, and the server will push the file again.',
    cause,
  })
}
