/** Results for people, on stdout. */
import { colors } from './colors.js'
import type { Finding } from '../commands/check.js'
import type { ClusterBackups } from '../commands/list.js'
import type { ShownBackup } from '../commands/show.js'
import { formatBytes, formatSeconds, formatTime } from './format.js'
import { headsText } from './heads-text.js'
import { table } from './table.js'

/** The backups of each cluster. */
export function listText(clusters: readonly ClusterBackups[]): string {
  if (clusters.length === 0) return 'no cluster is stored here'
  return clusters
    .map(({ cluster, backups, heads, unreadable }) => {
      const title = `${colors.bold(cluster.name)}${cluster.alias === undefined ? '' : ` (${cluster.alias})`}`
      const bad = unreadable.map(({ id, reason }) => `\n${colors.red('UNUSABLE:')} ${id}: ${reason}`).join('')
      const end = heads.length > 1 ? `${bad}\n\n${headsText(heads)}` : bad
      if (backups.length === 0) return `${title}\nno backup${end}`
      // one and the same number in every row would tell nothing
      const isForked = new Set(backups.map(({ stop }) => stop.timeline)).size > 1
      const head = ['ID', 'LABEL', 'ENDED', 'TOOK', 'SIZE', 'STORED', 'WAL', 'PAGES', ...(isForked ? ['TIMELINE'] : [])]
      const rows = backups.map(({ id, label, stop, start, totals }) => [
        id,
        label,
        formatTime(stop.time),
        formatSeconds(totals.seconds),
        formatBytes(totals.bytes),
        formatBytes(totals.storedBytes),
        start.segment === stop.segment ? start.segment : `${start.segment} - ${stop.segment.slice(8)}`,
        totals.pageErrors === 0 ? 'ok' : colors.red(`${totals.pageErrors} corrupt`),
        ...(isForked ? [String(stop.timeline)] : []),
      ])
      return `${title}\n${table([head, ...rows], [3, 4, 5, 8])}${end}`
    })
    .join('\n\n')
}

/** One backup. */
export function showText({ record, objects }: ShownBackup): string {
  const { start, stop, totals } = record
  const rows = [
    ['id', record.id],
    ['label', record.label],
    ['cluster', record.cluster],
    ['type', record.type],
    ['PostgreSQL', `${Math.floor(record.postgresVersion / 10_000)}.${record.postgresVersion % 10_000}`],
    ['started', `${formatTime(start.time)} at ${start.lsn}, timeline ${start.timeline}, ${start.segment}`],
    ['stopped', `${formatTime(stop.time)} at ${stop.lsn}, timeline ${stop.timeline}, ${stop.segment}`],
    ['took', formatSeconds(totals.seconds)],
    ['size', `${formatBytes(totals.bytes)} in ${record.files.count} files and directories`],
    ['stored', `${formatBytes(totals.storedBytes)} in ${record.objects.count} objects`],
    ['data checksums', record.dataChecksums ? 'on' : 'off'],
    ['file checksums', record.checksumAlgorithm],
    ['written by', record.tool],
    ...record.tablespaces.map(({ oid, location, inPlace }) => [
      'tablespace',
      `${oid} at ${location}${inPlace ? ' (in place)' : ''}`,
    ]),
    ['page errors', totals.pageErrors === 0 ? 'none' : colors.red(String(totals.pageErrors))],
  ]
  for (const line of objects) {
    if (line.type === 'page-errors')
      rows.push(['', `${line.pages} in "${line.path}" (${line.fork} fork), first at block ${line.first.block}`])
    else if (line.type !== 'object')
      rows.push([line.type, `"${line.path}"${line.reason === undefined ? '' : `: ${line.reason}`}`])
  }
  return table(rows)
}

/** The findings of a check. */
export function checkText(findings: readonly Finding[]): string {
  const marks = { ok: colors.green('ok     '), warning: colors.yellow('warning'), failure: colors.red('FAILURE') }
  return findings
    .map(
      ({ about, result, message, hint }) =>
        `${marks[result]}  ${about}: ${message}${hint === undefined ? '' : `\n         HINT: ${hint}`}`,
    )
    .join('\n')
}
