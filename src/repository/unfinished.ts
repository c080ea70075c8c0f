/**
 * Backups that are complete but for their WAL (E6): `base/<id>/unfinished.json` holds the whole record that would have
 * been committed. It is no backup before its record is written, and no part of the backup afterwards.
 */
import { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument, type DocumentHead } from './document.js'
import { basePrefix, UNFINISHED } from './layout.js'
import type { LocalSegment } from './wal-range.js'

/** What is known of such a backup. */
export interface UnfinishedBackup extends DocumentHead {
  id: string
  cluster: string
  /** RFC 3339 in UTC, when it gave up waiting. */
  time: string
  /** Why it did. */
  reason: string
  record: BackupRecord
  /** Segments as the server had them then: another server's, of the same name, must not stand in for them (E5). */
  wal: LocalSegment[]
}

/** Keeps what `backup --finalize` needs. */
export async function writeUnfinished(
  storage: Storage,
  unfinished: Omit<UnfinishedBackup, keyof DocumentHead>,
  signal?: AbortSignal,
): Promise<void> {
  const { cluster, id } = unfinished
  const key = basePrefix(cluster, id) + UNFINISHED
  await createObject(storage, key, formatDocument({ ...documentHead(), ...unfinished }), signal)
}

/** Reads it; rejects with NotFoundError where there is none, and with ToolError `damaged` where it is of another backup. */
export async function readUnfinished(
  storage: Storage,
  cluster: string,
  id: string,
  signal?: AbortSignal,
): Promise<UnfinishedBackup> {
  const key = basePrefix(cluster, id) + UNFINISHED
  const found = (await readDocument(storage, key, signal)) as unknown as UnfinishedBackup
  for (const each of [found, found.record]) {
    if (each.id === id && each.cluster === cluster) continue
    throw new ToolError('damaged', `"${key}" is of backup "${each.id}" of cluster "${each.cluster}"`)
  }
  return found
}
