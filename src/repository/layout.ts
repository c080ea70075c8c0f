/** Keys of everything in a repository (docs/repository-format.md): the only place that builds key names. */
import type { WalFile } from '../postgres/wal-segment.js'

/** Name of a cluster's sub-prefix, from facts that the server itself states. */
export function clusterName(major: number, systemIdentifier: bigint): string {
  return `pg${major}-${systemIdentifier}`
}

/** The parts of a cluster's name, or undefined for what is none. */
export function parseClusterName(name: string): { major: number; systemIdentifier: bigint } | undefined {
  const match = /^pg([1-9]\d)-([1-9]\d{0,19})$/.exec(name)
  return match?.[1] && match[2] ? { major: Number(match[1]), systemIdentifier: BigInt(match[2]) } : undefined
}

export const README_KEY = 'README.txt'
export const PROFILE_PREFIX = 'profile/'
/** What a probe of the store could not delete; it means nothing. */
export const PROBE_PREFIX = 'probe/'

/** `profile/<time>.json` */
export function profileKey(time: Date): string {
  return `${PROFILE_PREFIX}${keyTime(time)}.json`
}

export function clusterKey(cluster: string): string {
  return `${cluster}/cluster.json`
}

export function backupRecordPrefix(cluster: string): string {
  return `${cluster}/backups/`
}

export function backupRecordKey(cluster: string, id: string): string {
  return `${backupRecordPrefix(cluster)}${id}.json`
}

/** Everything of a cluster. */
export function clusterPrefix(cluster: string): string {
  return `${cluster}/`
}

/** Everything that belongs to one base backup, its record apart. */
export function basePrefix(cluster: string, id: string): string {
  return `${cluster}/base/${id}/`
}

/** Key of archive number `archive`. */
export function archiveKey(cluster: string, id: string, archive: number): string {
  return `${basePrefix(cluster, id)}${String(archive).padStart(5, '0')}.tar.zst`
}

/** Names of the small objects of a backup. */
export const BACKUP_LABEL = 'backup_label'
export const TABLESPACE_MAP = 'tablespace_map'
export const BACKUP_MANIFEST = 'backup_manifest'
export const FILES_INDEX = 'files.jsonl.zst'
export const OBJECTS_INDEX = 'objects.jsonl.zst'
export const CONFIG_FOLDER = 'config/'
/** What a backup leaves that is complete but for its WAL; no part of the backup. */
export const UNFINISHED = 'unfinished.json'

/** Folder of all WAL of a cluster. */
function walPrefix(cluster: string): string {
  return `${cluster}/wal/`
}

/** Folder of one timeline's segments. */
export function walTimelinePrefix(cluster: string, timeline: number): string {
  return `${walPrefix(cluster)}${hex8(timeline)}/`
}

/** Key of a WAL file. */
export function walKey(cluster: string, file: WalFile): string {
  if (file.kind === 'history') return `${walPrefix(cluster)}${file.name}.zst`
  return `${walTimelinePrefix(cluster, file.timeline)}${hex8(file.log)}/${file.name}.zst`
}

/** The name of the WAL file that a key of {@link walKey} stands for, or undefined. */
export function walFileNameOf(key: string): string | undefined {
  return /\/([^/]+)\.zst$/.exec(key)?.[1]
}

export function runningPrefix(cluster: string): string {
  return `${cluster}/running/`
}

/** `running/<id>/<time>.json` */
export function heartbeatKey(cluster: string, id: string, time: Date): string {
  return `${runningPrefix(cluster)}${id}/${keyTime(time)}.json`
}

export function pinsPrefix(cluster: string): string {
  return `${cluster}/pins/`
}

/** `pins/<id>/<time>.json` */
export function pinKey(cluster: string, id: string, time: Date): string {
  return `${pinsPrefix(cluster)}${id}/${keyTime(time)}.json`
}

export function proofsPrefix(cluster: string): string {
  return `${cluster}/proofs/`
}

/** `proofs/<id>/<time>.json` */
export function proofKey(cluster: string, id: string, time: Date): string {
  return `${proofsPrefix(cluster)}${id}/${keyTime(time)}.json`
}

export function retiredPrefix(cluster: string): string {
  return `${cluster}/retired/`
}

/** `retired/<time>.json` */
export function retiredKey(cluster: string, time: Date): string {
  return `${retiredPrefix(cluster)}${keyTime(time)}.json`
}

/** One of the folders that a backup has: `base/<id>/`, `running/<id>/` … */
export function backupFolderPrefix(cluster: string, folder: string, id: string): string {
  return `${cluster}/${folder}/${id}/`
}

/** Id of a backup: its start in UTC to the second, and 8 random hex digits. */
export function backupId(start: Date, random: string): string {
  return `${start.toISOString().replace(/[-:]/g, '').slice(0, 15)}Z-${random}`
}

export function isBackupId(text: string): boolean {
  return /^\d{8}T\d{6}Z-[0-9a-f]{8}$/.test(text)
}

/** A time that sorts as text and needs no escaping in a key: `20261122T184501.123Z`. */
function keyTime(time: Date): string {
  return time.toISOString().replace(/[-:]/g, '')
}

/** The time in a key that ends with one, as {@link pinKey} makes them; undefined for another key. */
export function timeOfKey(key: string): Date | undefined {
  const match = /\/(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3}Z)\.json$/.exec(key)
  if (!match) return undefined
  const [, year, month, day, hour, minute, rest] = match
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${rest}`)
  return Number.isNaN(time.getTime()) ? undefined : time
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}
