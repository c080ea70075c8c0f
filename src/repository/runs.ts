/** Backups that have no record and are not given up: in progress here or elsewhere, or waiting to be finalized (D6, E6). */
import { NotFoundError, ToolError } from '../errors.js'
import { parseLsn, type Lsn } from '../postgres/lsn.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { readDocument } from './document.js'
import type { Heartbeat } from './heartbeat.js'
import { basePrefix, runningPrefix, UNFINISHED } from './layout.js'

/**
 * A backup beats once a minute, and ends when a beat cannot be written after ten attempts of a minute each: after this time
 * nobody beats any more. One that was suspended and wakes up later reads `retired/` before it commits.
 */
const FRESH_MS = 30 * 60_000
/** How long a backup whose data is complete is left for "backup --finalize". */
const UNFINISHED_MS = 7 * 86_400_000

/** The newest heartbeat of a backup. */
export interface LastBeat {
  id: string
  key: string
  /** When it was stored, by the store's clock. */
  lastModified: Date
}

/** A backup without a record that must be left alone. */
export interface BackupInUse {
  id: string
  state: 'running' | 'unfinished'
  /** Where its WAL begins; undefined: its heartbeat cannot be read. */
  start: { timeline: number; lsn: Lsn } | undefined
  /** Where it runs; undefined: its heartbeat cannot be read. */
  host?: string | undefined
}

/** The newest heartbeat of each backup, by id. */
export async function listLastBeats(
  storage: Storage,
  cluster: string,
  signal?: AbortSignal,
): Promise<Map<string, LastBeat>> {
  const prefix = runningPrefix(cluster)
  const beats = new Map<string, LastBeat>()
  for await (const { key, lastModified } of storage.list(prefix, { signal })) {
    const id = /^([^/]+)\/[^/]+\.json$/.exec(key.slice(prefix.length))?.[1]
    if (id !== undefined) beats.set(id, { id, key, lastModified })
  }
  return beats
}

/** Whether a heartbeat says of itself, by its age alone, that somebody may still be at it. */
function isFresh({ lastModified }: Pick<LastBeat, 'lastModified'>, now: Date): boolean {
  return now.getTime() - lastModified.getTime() < FRESH_MS
}

/**
 * Which of these backups, none of which has a record, are in use. `beats` must have been listed before the records were: a
 * backup that is committed in between is then known twice, and never not at all.
 */
export async function findInUse(
  storage: Storage,
  cluster: string,
  ids: Iterable<string>,
  beats: ReadonlyMap<string, LastBeat>,
  now: Date,
  signal?: AbortSignal,
): Promise<BackupInUse[]> {
  const inUse: BackupInUse[] = []
  for (const id of ids) {
    const beat = beats.get(id)
    const heartbeat = beat && (await readHeartbeat(storage, beat.key, signal))
    const mayRun = beat && isFresh(beat, now) && (heartbeat === undefined || heartbeat.state === 'running')
    const isUnfinished = !mayRun && (await isWaiting(storage, cluster, id, now, signal))
    if (mayRun || isUnfinished)
      inUse.push({
        id,
        state: mayRun ? 'running' : 'unfinished',
        start: heartbeat && startOf(heartbeat),
        host: heartbeat?.host,
      })
  }
  return inUse
}

async function isWaiting(
  storage: Storage,
  cluster: string,
  id: string,
  now: Date,
  signal?: AbortSignal,
): Promise<boolean> {
  const object = await storage.head(basePrefix(cluster, id) + UNFINISHED, { signal })
  return object !== undefined && now.getTime() - object.lastModified.getTime() < UNFINISHED_MS
}

/** Undefined where it cannot be read: then its backup may need anything. */
async function readHeartbeat(storage: Storage, key: string, signal?: AbortSignal): Promise<Heartbeat | undefined> {
  try {
    return (await readDocument(storage, key, signal)) as unknown as Heartbeat
  } catch (error) {
    if (error instanceof NotFoundError) return undefined
    if (error instanceof ToolError && (error.code === 'damaged' || error.code === 'configuration')) return undefined
    throw error
  }
}

function startOf({ startLsn, startSegment }: Heartbeat): BackupInUse['start'] {
  const file = parseWalFileName(startSegment)
  return file?.kind === 'segment' ? { timeline: file.timeline, lsn: parseLsn(startLsn) } : undefined
}
