/** What `expire`, `gc` and `drop-cluster` found and did, for people. */
import { colors } from './colors.js'
import type { DropClusterResult } from '../commands/drop-cluster.js'
import type { ExpireFolder, ExpireResult, ExpireWal, RetentionDeed } from '../commands/expire-result.js'
import type { GcResult } from '../commands/gc.js'
import { formatBytes, formatSeconds, formatTime } from './format.js'
import { table } from './table.js'

/** The plan of an expire, and what became of it. */
export function expireText(result: ExpireResult): string {
  const { cluster, backups, wal, walHolds, unreadable } = result
  const backupRows = backups.map(({ id, label, stopTime, storedBytes, action, reasons }) => [
    action === 'keep' ? 'keep' : colors.yellow('expire'),
    ...[id, label, formatTime(stopTime), formatBytes(storedBytes), reasons.join(', ')],
  ])
  const walRows = wal.map((row) => [
    row.action === 'keep' ? 'keep' : colors.yellow(walAction(row)),
    ...[row.first, row.last, String(row.files), formatBytes(row.storedBytes), row.reason],
  ])
  return sections([
    colors.bold(cluster),
    backupRows.length === 0 ? 'no backup' : table([['', 'ID', 'LABEL', 'ENDED', 'STORED', 'WHY'], ...backupRows], [4]),
    walRows.length === 0 ? '' : table([['', 'WAL FROM', 'TO', 'FILES', 'STORED', 'WHY'], ...walRows], [3, 4]),
    foldersText(result.folders),
    inUseText(result.inUse),
    ...unreadable.map(({ id, reason }) => `${colors.red('UNUSABLE:')} ${id}: ${reason}`),
    ...walHolds.map((reason) => `${colors.red('NO WAL IS DELETED:')} ${reason}`),
    ending(result),
  ])
}

/** What a gc found, and what became of it. */
export function gcText(result: GcResult): string {
  const { cluster, folders, uploads, probes } = result
  const nothing = folders.length + uploads.length + probes.length === 0
  return sections([
    colors.bold(cluster),
    nothing ? 'nothing is left over' : '',
    foldersText(folders),
    uploads.length === 0
      ? ''
      : table([['UNFINISHED UPLOAD', 'BEGUN'], ...uploads.map(({ key, initiated }) => [key, formatTime(initiated)])]),
    probes.map(({ key }) => `left by a probe: ${key}`).join('\n'),
    inUseText(result.inUse),
    ending(result),
  ])
}

/** What a cluster held, and what became of it. */
export function dropClusterText({
  cluster,
  dryRun,
  backups,
  objects,
  bytes,
  objections,
  deed,
}: DropClusterResult): string {
  const what = `${objects} objects (${formatBytes(bytes)}) with ${backups.length} backups`
  return sections([
    colors.bold(cluster),
    dryRun ? `would be deleted: ${what}` : '',
    ...objections.map((reason) => `${colors.yellow('IN USE:')} ${reason}`),
    deed ? deedText(deed) : '',
  ])
}

function walAction({ when }: ExpireWal): string {
  return when === 'now' ? 'delete' : 'later'
}

function foldersText(folders: readonly ExpireFolder[]): string {
  if (folders.length === 0) return ''
  const rows = folders.map(({ folder, id, when, reason }) => [
    when === 'now' ? 'delete' : 'later',
    `${folder}/${id}/`,
    reason,
  ])
  return table([['', 'FOLDER', 'WHY'], ...rows])
}

function inUseText(inUse: ExpireResult['inUse']): string {
  return inUse
    .map(
      ({ id, state }) =>
        `left alone: backup ${id}, which is ${state === 'running' ? 'in progress' : 'to be finalized'}`,
    )
    .join('\n')
}

function ending({ dryRun, deed, graceSeconds }: Pick<ExpireResult, 'dryRun' | 'deed' | 'graceSeconds'>): string {
  if (dryRun || !deed) return 'dry run: nothing was changed'
  const announced =
    deed.announcement === undefined
      ? ''
      : graceSeconds === 0
        ? `announced in ${deed.announcement}\n`
        : `announced in ${deed.announcement}: goes with a run in ${formatSeconds(graceSeconds)} or later\n`
  return announced + deedText(deed)
}

function deedText({ deletedObjects, deletedBytes, failedObjects, failures }: RetentionDeed): string {
  const size = deletedBytes === 0 ? '' : ` (${formatBytes(deletedBytes)})`
  const lines = [deletedObjects === 0 ? 'nothing was deleted' : `deleted ${deletedObjects} objects${size}`]
  if (failedObjects > 0) lines.push(`${colors.red('NOT DELETED:')} ${failedObjects} objects`)
  for (const { key, reason } of failures) lines.push(`  ${key}: ${reason}`)
  if (failedObjects > failures.length) lines.push(`  and ${failedObjects - failures.length} more`)
  return lines.join('\n')
}

function sections(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('\n')
}
