/** Waits until every WAL segment that a backup needs is in the archive (E5): a backup without its WAL is no backup. */
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
import { hashFile, type WalObjectHead } from './wal-object.js'
import { readWalObjectHead } from './wal-object-read.js'

/** Pauses between looks: a segment is there within a second as a rule, and a backlog is no hurry. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000
const LOCAL_PAUSE_MS = 20
const PARALLEL_READS = 8

/** How to wait. */
export interface AwaitRangeOptions {
  timeline: number
  /** Names of all segments needed, ascending. */
  segments: readonly string[]
  walSegmentSize: number
  /** Time without any segment arriving that ends the wait: a backlog that gets shorter may take as long as it takes. */
  timeoutMs: number
  /** pg_wal of this server: what it still has there must be what the archive has (E5). */
  pgWalDirectory?: string | undefined
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
  let progress = { at: started, missing: missing.length }
  while (missing.length > 0) {
    const now = performance.now()
    if (missing.length < progress.missing) progress = { at: now, missing: missing.length }
    if (now - progress.at > options.timeoutMs) {
      throw new ToolError(
        'wal-missing',
        `WAL segment "${missing[0]}" did not reach the archive within ${Math.round(options.timeoutMs / 1000)} s`,
        {
          hint: 'See the log of the server for what archive_command says, and "pgsluice check".',
        },
      )
    }
    options.onWaiting?.(missing, (now - started) / 1000)
    await pause(pauseMs, missing[0] ?? '', options)
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

/** Ends early when this server notes that it has archived the segment: looks at a directory cost nothing, requests do. */
async function pause(ms: number, segment: string, { pgWalDirectory, signal }: AwaitRangeOptions): Promise<void> {
  const isDone = async (): Promise<boolean> =>
    (await stat(`${pgWalDirectory}/archive_status/${segment}.done`).catch(() => undefined)) !== undefined
  if (pgWalDirectory === undefined || (await isDone())) {
    await sleep(ms, undefined, { signal })
    return
  }
  const end = performance.now() + ms
  do await sleep(LOCAL_PAUSE_MS, undefined, { signal })
  while (performance.now() < end && !(await isDone()))
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
  if (options.pgWalDirectory !== undefined) await compareWithLocal(options.pgWalDirectory, head)
}

/**
 * A clone of a server has its system identifier and its timeline: only the content tells whose segment is stored. What the
 * server has recycled since cannot be compared.
 */
async function compareWithLocal(pgWal: string, head: WalObjectHead): Promise<void> {
  const sha256 = await hashOfComplete(pgWal, head.name)
  if (sha256 === undefined || sha256 === head.sha256) return
  throw new ToolError(
    'conflict',
    `the archive holds another server's "${head.name}": it differs from the one in "${pgWal}"`,
    {
      hint:
        'Two servers archive to the same place, or this one was restored or cloned and archives into its source: ' +
        'give each a repository of its own.',
    },
  )
}

/** A segment as the server has it. */
export interface LocalSegment {
  name: string
  /** Hex. */
  sha256: string
}

/** The hashes of those segments that the server has finished and not recycled. */
export async function hashLocalSegments(
  pgWal: string,
  segments: readonly string[],
  signal: AbortSignal,
): Promise<LocalSegment[]> {
  const hashed: LocalSegment[] = []
  for (const name of segments) {
    signal.throwIfAborted()
    const sha256 = await hashOfComplete(pgWal, name)
    if (sha256 !== undefined) hashed.push({ name, sha256 })
  }
  return hashed
}

/** SHA-256 of a segment that the server has finished and not recycled; undefined where it has none. */
async function hashOfComplete(pgWal: string, name: string): Promise<string | undefined> {
  const path = `${pgWal}/${name}`
  try {
    // a standby's newest segment may lack its end: complete is what was handed to the archiver, or needs not to be
    const status = `${pgWal}/archive_status/${name}`
    if (!(await identityOf(`${status}.done`)) && !(await identityOf(`${status}.ready`))) return undefined
    const before = await identityOf(path)
    if (before === undefined) return undefined
    const { sha256 } = hashFile(path)
    // recycled meanwhile, it was renamed and perhaps written to: what was read says nothing
    return (await identityOf(path)) === before ? sha256 : undefined
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return undefined
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(cause)}`, { cause })
  }
}

async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return [ino, size, mtimeNs].join(' ')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
