/** Events for people, on stderr: one moving line on a terminal, a plain line every ten seconds elsewhere. */
import { messageColors as colors } from './colors.js'
import type { Report, ReportEvent } from '../report.js'
import { formatBytes, formatSeconds } from './format.js'

const PLAIN_INTERVAL_MS = 10_000

/** Where lines go. */
export interface TextOutput {
  write: (text: string) => void
  isTerminal: boolean
  columns: () => number
}

/** Renders events until {@link TextRenderer.end}. */
export class TextRenderer {
  readonly #out: TextOutput
  #moving = false
  #lastPlain = 0
  #began: { phase: string; at: number } | undefined

  constructor(out: TextOutput) {
    this.#out = out
  }

  readonly report: Report = (event) => {
    if (event.type === 'progress') this.#progress(event)
    else if (event.type === 'wal-awaited')
      this.#waiting(
        `waiting for WAL segment ${event.segment}${event.missing > 1 ? ` and ${event.missing - 1} more` : ''} in the archive (${formatSeconds(event.seconds)})`,
      )
    else if (event.type === 'wal-scanned')
      this.#waiting(`scanning the WAL behind backup ${event.backup}: ${event.done} of ${event.total} segments`)
    else {
      const line = textOf(event)
      if (line !== undefined) this.line(line)
    }
  }

  /** Prints a line of its own. */
  line(text: string): void {
    this.#clear()
    this.#out.write(`${text}\n`)
  }

  /** Takes the moving line away. */
  end(): void {
    this.#clear()
  }

  #progress({ phase, doneBytes, totalBytes }: Extract<ReportEvent, { type: 'progress' }>): void {
    const now = performance.now()
    if (this.#began?.phase !== phase) this.#began = { phase, at: now }
    const seconds = (now - this.#began.at) / 1000
    const rate = seconds > 0.5 ? doneBytes / seconds : 0
    const percent = totalBytes > 0 ? Math.floor((doneBytes / totalBytes) * 100) : 100
    const left = rate > 0 && doneBytes < totalBytes ? `, ${formatSeconds((totalBytes - doneBytes) / rate)} left` : ''
    const speed = rate > 0 ? `, ${formatBytes(rate)}/s` : ''
    this.#waiting(`${phase}: ${percent} % of ${formatBytes(totalBytes)}${speed}${left}`)
  }

  #waiting(text: string): void {
    if (this.#out.isTerminal) {
      this.#out.write(`\r\x1b[K${text.slice(0, Math.max(this.#out.columns() - 1, 20))}`)
      this.#moving = true
      return
    }
    const now = performance.now()
    if (this.#lastPlain !== 0 && now - this.#lastPlain < PLAIN_INTERVAL_MS) return
    if (this.#lastPlain !== 0) this.#out.write(`${text}\n`)
    this.#lastPlain = now
  }

  #clear(): void {
    if (this.#moving) this.#out.write('\r\x1b[K')
    this.#moving = false
  }
}

/** What an event says, or undefined for one that is too small for a line. */
function textOf(event: Exclude<ReportEvent, { type: 'progress' | 'wal-awaited' | 'wal-scanned' }>): string | undefined {
  switch (event.type) {
    case 'step':
      return event.message
    case 'warning':
      return `${colors.yellow('WARNING:')} ${event.message}${event.hint === undefined ? '' : `\n${colors.bold('HINT:')} ${event.hint}`}`
    case 'backup-started':
      return `backup ${event.id} started at ${event.startLsn} (${event.startSegment}), ${event.jobs} jobs`
    case 'backup-planned':
      return `${event.files} files, ${formatBytes(event.bytes)}, in ${event.archives} archives`
    case 'archive-packed':
    case 'archive-extracted':
    case 'backup-verified':
      return undefined
    case 'verify-started':
      return `verifying backup ${event.id}: ${event.objects} objects, ${formatBytes(event.bytes)}`
    case 'fault-found':
      return `${colors.red('FAULT:')} ${event.key}${event.place === undefined ? '' : `, ${event.place}`}: ${event.problem}`
    case 'page-errors-found':
      return `${colors.red('PAGE ERRORS:')} ${event.pages} corrupt pages in "${event.path}" (${event.fork} fork), blocks ${event.ranges}`
    case 'backup-stopped':
      return `all files are stored; backup stopped at ${event.stopLsn} (${event.stopSegment})`
    case 'backup-unfinished':
      return `backup ${event.id} is complete but for its WAL: "pgsluice backup --finalize ${event.id}" commits it once that is archived`
    case 'restore-planned':
      return `${event.files} files, ${formatBytes(event.bytes)}, from ${event.archives} archives`
    case 'rate-changed':
      return event.bytesPerSecond === null
        ? 'settings read again: no limit of the rate'
        : `settings read again: at most ${formatBytes(event.bytesPerSecond)}/s`
    case 'restore-synced':
      return `${event.files} files synced`
  }
}
