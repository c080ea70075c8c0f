/** Waits until every WAL segment that a backup needs is in the archive (E5): a backup without its WAL is no backup. */
import { setTimeout as sleep } from 'node:timers/promises'
import { ToolError } from '../errors.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
import { readWalObjectHead } from './wal-fetch.js'

/** Pauses between looks: a segment is there within a second as a rule, and a backlog is no hurry. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000
const PARALLEL_READS = 8

/** How to wait. */
export interface AwaitRangeOptions {
  timeline: number
  /** Names of all segments needed, ascending. */
  segments: readonly string[]
  walSegmentSize: number
  timeoutMs: number
  /** Called after each look while segments are missing. */
  onWaiting?: (missing: readonly string[], seconds: number) => void
  /** Called between looks; a rejection ends the wait. */
  probe?: () => Promise<void>
  signal?: AbortSignal | undefined
}

/** Resolves when all segments are there and each says of itself what it should. Rejects with ToolError `wal-missing` at the deadline. */
export async function awaitWalRange(storage: Storage, cluster: string, options: AwaitRangeOptions): Promise<void> {
  const started = performance.now()
  let pauseMs = FIRST_PAUSE_MS
  let missing = await missingSegments(storage, cluster, options)
  while (missing.length > 0) {
    const elapsedMs = performance.now() - started
    if (elapsedMs > options.timeoutMs) {
      throw new ToolError(
        'wal-missing',
        `WAL segment "${missing[0]}" did not reach the archive within ${Math.round(options.timeoutMs / 1000)} s`,
        {
          hint: 'See the log of the server for what archive_command says, and "pgsluice check".',
        },
      )
    }
    options.onWaiting?.(missing, elapsedMs / 1000)
    await sleep(pauseMs, undefined, { signal: options.signal })
    pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS)
    await options.probe?.()
    missing = await missingSegments(storage, cluster, options)
  }
  for (let at = 0; at < options.segments.length; at += PARALLEL_READS) {
    await Promise.all(
      options.segments.slice(at, at + PARALLEL_READS).map((name) => checkHead(storage, cluster, name, options)),
    )
  }
}

/** Throws ToolError `wal-missing` where a segment is not in the archive now (I11). */
export async function requireWalRange(
  storage: Storage,
  cluster: string,
  options: Pick<AwaitRangeOptions, 'timeline' | 'segments' | 'signal'>,
): Promise<void> {
  const [missing] = await missingSegments(storage, cluster, options)
  if (missing === undefined) return
  throw new ToolError('wal-missing', `WAL segment "${missing}", which the backup needs, is not in the archive`)
}

async function missingSegments(
  storage: Storage,
  cluster: string,
  options: Pick<AwaitRangeOptions, 'timeline' | 'segments' | 'signal'>,
): Promise<string[]> {
  const missing = new Set(options.segments)
  const [first] = options.segments
  const last = options.segments.at(-1)
  if (first === undefined || last === undefined) return []
  const file = parseWalFileName(first)
  const startAfter = file ? walKey(cluster, file).slice(0, -1) : ''
  for await (const { key } of storage.list(walTimelinePrefix(cluster, options.timeline), {
    startAfter,
    signal: options.signal,
  })) {
    const name = walFileNameOf(key)
    if (name === undefined) continue
    missing.delete(name)
    if (name > last) break
  }
  return [...missing]
}

async function checkHead(storage: Storage, cluster: string, name: string, options: AwaitRangeOptions): Promise<void> {
  const file = parseWalFileName(name)
  if (!file) throw new Error(`"${name}" is no WAL segment`)
  const key = walKey(cluster, file)
  const head = await readWalObjectHead(storage, key, options.signal)
  if (head.name !== name || head.size !== options.walSegmentSize) {
    throw new ToolError('damaged', `"${key}" is damaged: it holds ${head.size} bytes of "${head.name}"`)
  }
}
