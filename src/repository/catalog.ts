/** The backups that exist: one listing of `backups/`, then one small read each. */
import { NotFoundError, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { readBackupRecord, type BackupRecord } from './backup-record.js'
import { backupRecordPrefix, isBackupId } from './layout.js'

/** Reads in flight at a time while the catalog is loaded. */
const PARALLEL_READS = 16

/** A record that cannot be used: damaged, or written by a newer version. */
export interface UnreadableBackup {
  id: string
  error: ToolError
}

/** What to do with records that cannot be used: the other backups must stay within reach. */
export type OnUnreadable = (backup: UnreadableBackup) => void

/** All backups of a cluster, oldest first. A record that another process deletes meanwhile is left out. */
export async function listBackups(
  storage: Storage,
  cluster: string,
  onUnreadable: OnUnreadable,
  signal?: AbortSignal,
): Promise<BackupRecord[]> {
  const ids = await listBackupIds(storage, cluster, signal)
  const records: BackupRecord[] = []
  for (let at = 0; at < ids.length; at += PARALLEL_READS) {
    const batch = ids.slice(at, at + PARALLEL_READS).map(async (id) => {
      try {
        return await readBackupRecord(storage, cluster, id, signal)
      } catch (error) {
        if (error instanceof NotFoundError) return undefined
        if (!(error instanceof ToolError) || (error.code !== 'damaged' && error.code !== 'configuration')) throw error
        onUnreadable({ id, error })
        return undefined
      }
    })
    for (const record of await Promise.all(batch)) if (record) records.push(record)
  }
  return records
}

/** Ids of all backups, oldest first. */
export async function listBackupIds(storage: Storage, cluster: string, signal?: AbortSignal): Promise<string[]> {
  const prefix = backupRecordPrefix(cluster)
  const ids: string[] = []
  for await (const { key } of storage.list(prefix, { signal })) {
    const id = key.slice(prefix.length, -'.json'.length)
    if (key.endsWith('.json') && isBackupId(id)) ids.push(id)
  }
  return ids
}

/**
 * Finds one backup by `latest`, an id, the unique beginning of one, or a label (its newest). Throws ToolError `usage`
 * that names the candidates.
 * Where the newest cannot be used, the newest that can be is found, and `onUnreadable` told.
 */
export async function findBackup(
  storage: Storage,
  cluster: string,
  wanted: string,
  onUnreadable: OnUnreadable,
  signal?: AbortSignal,
): Promise<BackupRecord> {
  const ids = await listBackupIds(storage, cluster, signal)
  const newest = ids.at(-1)
  if (newest === undefined) {
    throw new ToolError('usage', `cluster "${cluster}" in "${storage.url}" has no backup`, {
      hint: 'Take one with "pgsluice backup".',
    })
  }
  if (wanted === 'latest') {
    const records = await listBackups(storage, cluster, onUnreadable, signal)
    const latest = records.sort(byStopTime).at(-1)
    if (latest) return latest
  }
  if (ids.includes(wanted)) return readBackupRecord(storage, cluster, wanted, signal)
  const labelled = (await listBackups(storage, cluster, onUnreadable, signal))
    .filter(({ label }) => label === wanted)
    .sort(byStopTime)
  const newestLabelled = labelled.at(-1)
  if (newestLabelled) return newestLabelled
  const matching = ids.filter((id) => id.startsWith(wanted))
  if (matching.length === 1 && matching[0]) return readBackupRecord(storage, cluster, matching[0], signal)
  if (matching.length > 1) {
    throw new ToolError('usage', `"${wanted}" is the beginning of ${matching.length} backups`, {
      hint: `Name one of: ${matching.slice(-10).join(', ')}.`,
    })
  }
  throw new ToolError('usage', `no backup of cluster "${cluster}" has the id or label "${wanted}"`, {
    hint: `The newest are: ${ids.slice(-5).join(', ')}.`,
  })
}

function byStopTime(a: BackupRecord, b: BackupRecord): number {
  return Date.parse(a.stop.time) - Date.parse(b.stop.time) || (a.id < b.id ? -1 : 1)
}
