/**
 * The backup record, `backups/<id>.json`: the commit. A backup exists if and only if this object does (E9); it is
 * written last, create-only, and names by hash all that the backup is made of (format rules 2 and 3).
 */
import { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { formatDocument, readDocument, type DocumentHead } from './document.js'
import { backupRecordKey } from './layout.js'

/** One end of a backup. */
export interface BackupPoint {
  /** `16/B374D848` */
  lsn: string
  timeline: number
  /** Name of the WAL segment: the first needed, or the last needed. */
  segment: string
  /** RFC 3339 in UTC, by the server's clock (S6). */
  time: string
}

/** The record of a full backup. */
export interface BackupRecord extends DocumentHead {
  /** `pgsluice 0.1.0` */
  tool: string
  id: string
  label: string
  type: 'full'
  cluster: string
  /** The server's cluster_name, if it had one: a name for the cluster that people know. */
  alias?: string
  /** server_version_num. */
  postgresVersion: number
  catalogVersion: number
  walSegmentSize: number
  blockSize: number
  dataChecksums: boolean
  fromStandby: boolean
  checksumAlgorithm: 'CRC32C' | 'SHA256'
  start: BackupPoint & { checkpointLsn: string }
  stop: BackupPoint
  tablespaces: { oid: number; location: string; inPlace?: true }[]
  /** `objects.jsonl.zst`: SHA-256 of the stored object, how many objects it lists, their bytes as stored. */
  objects: { sha256: string; count: number; bytes: number }
  /** `files.jsonl.zst`: SHA-256 of the stored object, how many files it lists. */
  files: { sha256: string; count: number }
  totals: {
    /** Bytes of the cluster's files. */
    bytes: number
    storedBytes: number
    seconds: number
    pageErrors: number
    vanishedFiles: number
    skippedFiles: number
  }
  parent: null
  uses: Record<string, never>
}

/** Writes the record: from this moment on the backup exists. */
export async function commitBackup(storage: Storage, record: BackupRecord, signal?: AbortSignal): Promise<void> {
  const text = formatDocument(record)
  // the 16 KiB of the format: listing a thousand backups stays a matter of small reads
  if (Buffer.byteLength(text) > 16 * 1024)
    throw new ToolError('configuration', 'the backup record would be larger than 16 KiB: too many tablespaces')
  await createObject(storage, backupRecordKey(record.cluster, record.id), text, signal)
}

/** Reads a record and checks that it is the one that was asked for. */
export async function readBackupRecord(
  storage: Storage,
  cluster: string,
  id: string,
  signal?: AbortSignal,
): Promise<BackupRecord> {
  const key = backupRecordKey(cluster, id)
  const record = (await readDocument(storage, key, signal)) as unknown as BackupRecord
  if (record.id !== id || record.cluster !== cluster) {
    throw new ToolError('damaged', `"${key}" is the record of backup "${record.id}" of cluster "${record.cluster}"`)
  }
  return record
}
