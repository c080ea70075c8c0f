/**
 * What is going to be deleted, said before it is (format rule 7): `retired/<time>.json` is written before the first
 * deletion, and all but records of backups stays for a grace period. A backup reads these documents again before its
 * commit and fails where one names what it uses, so that the two need no lock between them (D6).
 */
import { NotFoundError, ToolError } from '../errors.js'
import { parseWalFileName, segmentNumberOf } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument, type DocumentHead } from './document.js'
import { clusterKey, retiredKey, retiredPrefix } from './layout.js'

/** The folders of one backup. */
export type BackupFolder = 'base' | 'running' | 'pins' | 'proofs'
export const BACKUP_FOLDERS: readonly BackupFolder[] = ['base', 'running', 'pins', 'proofs']

/** Files of a timeline's WAL, by their segments: `.partial` and `.backup` files of the same segments are meant, too. */
export interface RetiredWal {
  timeline: number
  /** Names of the first and last segment. */
  first: string
  last: string
}

/** One announcement. */
export interface Retired {
  by: 'expire' | 'gc' | 'drop-cluster'
  /** RFC 3339 in UTC, by the store's clock where it has one. Its age is that of the object (format rule 10). */
  time: string
  /** Backups: their record goes at once, everything in their folders later. */
  backups: { id: string; reason: string }[]
  /** Folders of backups that have no record. */
  folders: { folder: BackupFolder; id: string; reason: string }[]
  wal: RetiredWal[]
  /** All of the cluster. */
  wholeCluster?: true
}

/** An announcement as it is stored. */
export interface Announcement {
  key: string
  /** When it was written, by the store's clock. */
  announced: Date
  retired: Retired
}

/** Two runs that announce in the same millisecond. */
const NAME_ATTEMPTS = 100

/** Writes an announcement. */
export async function announce(
  storage: Storage,
  cluster: string,
  retired: Retired,
  signal?: AbortSignal,
): Promise<string> {
  const text = formatDocument({ ...documentHead(), ...retired })
  for (let attempt = 0; ; attempt++) {
    const key = retiredKey(cluster, new Date(Date.parse(retired.time) + attempt))
    try {
      await createObject(storage, key, text, signal)
      return key
    } catch (error) {
      const isTaken = error instanceof ToolError && error.code === 'conflict'
      if (!isTaken || attempt === NAME_ATTEMPTS) throw error
    }
  }
}

/**
 * All announcements, oldest first. One that is gone meanwhile is left out; of one that cannot be read `onUnreadable` is
 * told, which may throw.
 */
export async function readAnnouncements(
  storage: Storage,
  cluster: string,
  onUnreadable: (key: string, error: ToolError) => void,
  signal?: AbortSignal,
): Promise<Announcement[]> {
  const announcements: Announcement[] = []
  for await (const { key, lastModified } of storage.list(retiredPrefix(cluster), { signal })) {
    if (!key.endsWith('.json')) continue
    try {
      const retired = (await readDocument(storage, key, signal)) as unknown as Retired & DocumentHead
      announcements.push({ key, announced: lastModified, retired })
    } catch (error) {
      if (error instanceof NotFoundError) continue
      if (!(error instanceof ToolError) || (error.code !== 'damaged' && error.code !== 'configuration')) throw error
      onUnreadable(key, error)
    }
  }
  return announcements
}

/** What a backup uses. */
export interface UsedByBackup {
  id: string
  timeline: number
  /** Names of the WAL segments from start to stop. */
  segments: readonly string[]
  walSegmentSize: number
}

/**
 * Throws ToolError `refused` where an announcement names what a backup that is about to be committed uses, or where the whole
 * cluster was dropped meanwhile (D6).
 */
export async function requireNotRetired(
  storage: Storage,
  cluster: string,
  used: UsedByBackup,
  signal?: AbortSignal,
): Promise<void> {
  const announcements = await readAnnouncements(storage, cluster, refuseUnreadable, signal)
  // read after them: "drop-cluster" deletes it last, and its announcement before it
  if (!(await isThere(storage, clusterKey(cluster), signal)))
    throw new ToolError('refused', `backup ${used.id} cannot be committed: "${clusterKey(cluster)}" is gone`, {
      hint: 'The cluster was dropped from the repository meanwhile. Take another backup.',
    })
  for (const { key, retired } of announcements) {
    const what = retiredPartOf(retired, used)
    if (what === undefined) continue
    throw new ToolError(
      'refused',
      `backup ${used.id} cannot be committed: "${key}" announces that ${what} is deleted`,
      {
        hint: 'It was taken for given up. Take another backup.',
      },
    )
  }
}

/** By a GET, as only that proves absence (G2). */
async function isThere(storage: Storage, key: string, signal?: AbortSignal): Promise<boolean> {
  try {
    await readDocument(storage, key, signal)
    return true
  } catch (error) {
    if (error instanceof NotFoundError) return false
    throw error
  }
}

/** It may name just what the backup uses. */
function refuseUnreadable(key: string, cause: ToolError): never {
  throw new ToolError('refused', `could not read what "${key}" announces to be deleted`, {
    cause,
    hint: cause.hint ?? `Delete "${key}": "expire" and "gc" announce again what they have to.`,
  })
}

function retiredPartOf(retired: Retired, { id, timeline, segments, walSegmentSize }: UsedByBackup): string | undefined {
  if (retired.wholeCluster) return 'the cluster'
  if ([...retired.backups, ...retired.folders].some((each) => each.id === id)) return 'this backup'
  const numbers = segments.map((name) => numberOf(name, walSegmentSize))
  for (const wal of retired.wal) {
    if (wal.timeline !== timeline) continue
    const [first, last] = [numberOf(wal.first, walSegmentSize), numberOf(wal.last, walSegmentSize)]
    const at = numbers.findIndex((number) => number >= first && number <= last)
    if (at >= 0) return `WAL segment "${segments[at]}"`
  }
  return undefined
}

/** Number of a segment, by its name. Throws ToolError `damaged` for what is none. */
export function numberOf(segment: string, walSegmentSize: number): bigint {
  const file = parseWalFileName(segment)
  if (file?.kind !== 'segment') throw new ToolError('damaged', `"${segment}" is no WAL segment`)
  return segmentNumberOf(file, walSegmentSize)
}
