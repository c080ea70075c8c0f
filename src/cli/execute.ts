/** Runs one command: settings in, events and result out, exit code last of all. */
import type { CommandContext } from '../commands/context.js'
import type { Settings } from '../config/settings.js'
import { EXIT_UNFINISHED, reasonOf, reasonOfAbort, ToolError } from '../errors.js'
import type { ReportEvent } from '../report.js'
import { loadSettings, type Flags } from './config.js'
import { describeError, exitCodeOf, exitNow, setExitCode, type ExitRules } from './exit.js'
import { jsonReport } from './render-json.js'
import { TextRenderer } from './render-text.js'
import { rereadOnSignal, signalToAbort } from './signals.js'

/** How a command runs and what it prints. */
export interface Execution<T> {
  flags: Flags & { json?: boolean; quiet?: boolean; nice?: boolean }
  rules?: ExitRules
  /** Events go to stdout as JSON lines, too (with `--json`); else only the result does. */
  streams?: boolean
  /** SIGUSR2 has the settings read again while it runs. */
  rereads?: boolean
  run: (settings: Settings, context: CommandContext) => Promise<T>
  /** What a person reads on stdout; undefined prints nothing. */
  text?: (result: T) => string | undefined | Promise<string | undefined>
  /** What a machine reads. Default: the result itself. */
  json?: (result: T) => object
  /** Default 0. */
  exitCode?: (result: T) => number
}

/** Sets the exit code of the process; it is a failure until the very end. */
export async function execute<T>(execution: Execution<T>): Promise<void> {
  const { flags, rules = 'ordinary' } = execution
  const renderer = new TextRenderer({
    write: (text) => void process.stderr.write(text),
    isTerminal: process.stderr.isTTY,
    columns: () => process.stderr.columns,
  })
  const interrupted = signalToAbort(
    (name) => {
      renderer.line(`interrupted by ${name}: cleaning up (once more ends at once, and leaves what is there)`)
    },
    (code) => exitNow(rules === 'wal-push' ? EXIT_UNFINISHED : rules === 'fetch-ahead' ? 1 : code),
  )
  const output = new AbortController()
  // a reader that went away ends the command in its orderly way; nobody is left to be told, so stderr may fail in silence
  process.stdout.on('error', (cause) => {
    output.abort(new ToolError('file-system', `could not write to standard output: ${reasonOf(cause)}`, { cause }))
  })
  process.stderr.on('error', () => undefined)
  const signal = AbortSignal.any([interrupted, output.signal])
  const writeOut = (text: string): void => void process.stdout.write(text)
  const events = flags.json && execution.streams ? jsonReport(writeOut) : renderer.report
  const report = flags.quiet ? onlyWarnings(events) : events
  const onSettingsReread = execution.rereads
    ? rereadOnSignal(
        async () => (await loadSettings(flags)).settings,
        (error) => {
          report({ type: 'warning', message: `the settings stay as they are: ${reasonOf(error)}` })
        },
      )
    : undefined
  try {
    if (flags.nice) await (await import('./low-priority.js')).lowerPriority(report)
    // nothing that is only odd may stop archiving or recovery
    const { settings } = await loadSettings(flags, rules === 'ordinary' ? undefined : report)
    const result = await execution.run(settings, { report, signal, onSettingsReread })
    renderer.end()
    if (flags.json) {
      const document = execution.json ? execution.json(result) : (result as object)
      writeOut(
        execution.streams
          ? `${JSON.stringify({ type: 'result', ...document })}\n`
          : `${JSON.stringify(document, null, 2)}\n`,
      )
    } else {
      const text = await execution.text?.(result)
      if (text !== undefined) writeOut(`${text}\n`)
    }
    setExitCode(execution.exitCode?.(result) ?? 0)
  } catch (failure) {
    renderer.end()
    const error = reasonOfAbort(failure, signal)
    const exitCode = exitCodeOf(error, rules)
    setExitCode(exitCode)
    const message = describeError(error)
    if (flags.json && execution.streams) writeOut(`${JSON.stringify({ type: 'error', message, exitCode })}\n`)
    process.stderr.write(`pgsluice: ${message}\n`)
  }
}

const TOLD_WHEN_QUIET = new Set<ReportEvent['type']>(['warning', 'page-errors-found', 'backup-unfinished'])

function onlyWarnings(report: CommandContext['report']): CommandContext['report'] {
  return (event) => {
    if (TOLD_WHEN_QUIET.has(event.type)) report(event)
  }
}
