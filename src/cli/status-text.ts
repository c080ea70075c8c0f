/** A status for people and for monitoring: the first line says all, the rest why. */
import { colors } from './colors.js'
import type { Status, StatusLag } from '../commands/status.js'
import type { StatusServer } from '../commands/status-server.js'
import { formatBytes, formatSeconds, formatTime } from './format.js'
import { headsText } from './heads-text.js'
import { table } from './table.js'

/** The answer. */
export function statusText(status: Status): string {
  const { ok, problems, lag, backup, recoverable, gap, heads, timeline } = status
  const age = (seconds: number): string => `${formatSeconds(seconds)} ago`
  const rows = [
    ['cluster', status.cluster],
    ...serverRows(status.server),
    ...(lag ? lagRows(lag) : []),
    ...(backup
      ? [
          ['newest backup', `${backup.id}${backup.label === '' ? '' : ` (${backup.label})`}`],
          ['', `ended ${formatTime(backup.stopTime)}, ${age(backup.ageSeconds)}, at ${backup.stopLsn}`],
        ]
      : [['newest backup', 'none']]),
    ...(recoverable
      ? [
          [
            'recoverable',
            `up to ${formatTime(recoverable.time)}, ${age(recoverable.ageSeconds)}, timeline ${timeline}`,
          ],
          ['', `${recoverable.isBackupEnd ? 'the end of the backup' : 'the last transaction'}, at ${recoverable.lsn}`],
        ]
      : []),
    ...(gap ? [['first gap', `"${gap.missing}"`]] : []),
    ['clock', `${status.clock === 'server' ? "the server's" : "this host's"}: ${formatTime(status.time)}`],
  ]
  const hints = problems.map(({ message, hint }) => {
    const line = `${colors.red('PROBLEM:')} ${message}`
    return hint === undefined ? line : `${line}\n         ${colors.bold('HINT:')} ${hint}`
  })
  const summary = ok ? `${colors.green('ok')}: ${summaryOf(status)}` : `${colors.red('problem')}: ${reasonsOf(status)}`
  return [summary, table(rows), ...hints, ...(heads.length > 1 ? [headsText(heads)] : [])].join('\n')
}

function reasonsOf({ problems }: Status): string {
  return problems.map(({ message }) => message).join('; ')
}

function summaryOf({ lag, recoverable, clock }: Status): string {
  const end = recoverable ? `recoverable up to ${formatTime(recoverable.time)}` : 'nothing can be recovered'
  if (clock === 'local') return `${end} (the server was not asked)`
  return lag ? `the archive is ${behind(lag)} behind, ${end}` : end
}

function behind({ seconds, isAtMost, bytes }: StatusLag): string {
  const time = seconds === undefined ? '' : `${isAtMost ? 'at most ' : ''}${formatSeconds(seconds)} and `
  return `${time}${formatBytes(bytes)}`
}

function serverRows(server: StatusServer | undefined): string[][] {
  if (!server) return []
  const { version, inRecovery, lsn, timeline, segment, archiveMode, archiver } = server
  const { lastArchived, lastArchivedTime = '', lastFailed, lastFailedTime = '', failedCount, readyFiles } = archiver
  return [
    ['server', `PostgreSQL ${version}${inRecovery ? ', in recovery' : ''}, archive_mode ${archiveMode}`],
    [inRecovery ? 'replayed to' : 'writes at', `${lsn}, timeline ${timeline}, ${segment}`],
    ['last archived', lastArchived === undefined ? 'none' : `${lastArchived}, ${formatTime(lastArchivedTime)}`],
    [
      'last failed',
      lastFailed === undefined
        ? 'none'
        : `${lastFailed}, ${formatTime(lastFailedTime)} (${count(failedCount, 'failure')}${archiver.isFailing ? ', failing now' : ''})`,
    ],
    ...(readyFiles === undefined ? [] : [['waiting', `${count(readyFiles, 'file')} for the archiver`]]),
  ]
}

function lagRows(lag: StatusLag): string[][] {
  const { archivedLsn, segments, next } = lag
  return [
    ['archived to', archivedLsn],
    ['behind', behind(lag)],
    ['', `${count(segments, 'whole segment')}${segments === 0 ? '' : `, from ${next} on`}`],
  ]
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
