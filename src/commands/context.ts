/** What every command is given besides its settings and options. */
import type { Report } from '../report.js'

export interface CommandContext {
  report: Report
  signal: AbortSignal
}
