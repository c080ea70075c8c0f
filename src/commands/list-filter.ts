/** Which backups a list is to hold. */
import { ToolError } from '../errors.js'
import { parseInstant, parseTimeline } from '../postgres/recovery-target.js'
import type { BackupRecord } from '../repository/backup-record.js'

/** Options of {@link list}: a backup has to fit all of them. */
export interface ListOptions {
  /** Only those with this label. */
  label?: string | undefined
  /** Only those that ended at or after this instant: a date, a time and an offset. */
  since?: string | undefined
  /** Only those that ended at or before it. */
  until?: string | undefined
  /** Only those that ended on this timeline: decimal, 0x…, or eight hexadecimal digits. */
  timeline?: string | undefined
  /** Of those, only so many of each cluster: the ones that ended last. */
  latest?: number | undefined
}

/** The filter that the options make; keeps the order. Throws ToolError `usage`. */
export function backupFilter(options: ListOptions): (records: readonly BackupRecord[]) => BackupRecord[] {
  const { label, since, until, latest } = options
  const from = since === undefined ? -Infinity : parseInstant('--since', since).getTime()
  const to = until === undefined ? Infinity : parseInstant('--until', until).getTime()
  if (from > to) throw new ToolError('usage', `--since ${since ?? ''} is after --until ${until ?? ''}`)
  if (latest !== undefined && !(Number.isSafeInteger(latest) && latest >= 1))
    throw new ToolError('usage', `wrong value ${JSON.stringify(latest)} for --latest: expected a whole number from 1`)
  const timeline = options.timeline === undefined ? undefined : parseTimeline('--timeline', options.timeline)
  return (records) => {
    const fitting = records.filter((record) => {
      const ended = Date.parse(record.stop.time)
      const isWanted = label === undefined || record.label === label
      return isWanted && ended >= from && ended <= to && (timeline === undefined || record.stop.timeline === timeline)
    })
    if (latest === undefined) return fitting
    const byEnd = [...fitting].sort((a, b) => Date.parse(a.stop.time) - Date.parse(b.stop.time))
    const kept = new Set(byEnd.slice(-latest))
    return fitting.filter((record) => kept.has(record))
  }
}
