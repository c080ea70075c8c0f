/** Runs one command: settings in, events and result out, exit code last of all. */
import type { CommandContext } from '../commands/context.js'
import type { Settings } from '../config/settings.js'
import { EXIT_UNFINISHED, reasonOf, reasonOfAbort, ToolError } from '../errors.js'
import type { ReportEvent } from '../report.js'
import { loadSettings, withSources, type Flags, type LoadedSettings } from './config.js'
import { describeError, exitCodeOf, exitNow, setExitCode, type ExitRules } from './exit.js'
import { jsonReport } from './render-json.js'
import { TextRenderer } from './render-text.js'
import { rereadOnSignal, signalToAbort } from './signals.js'
import type { Textfile } from './textfile.js'

/** How a command runs and what it prints. */
export interface Execution<T> {
  flags: Flags & { json?: boolean; quiet?: boolean; nice?: boolean }
  rules?: ExitRules
  /** Events go to stdout as JSON lines, too (with `--json`); else only the result does. */
  streams?: boolean
  /** SIGUSR2 has the settings read again while it runs. */
  rereads?: boolean
  /** Opens the file that is told how it ended. */
  textfile?: (() => Promise<Textfile<T>>) | undefined
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
  const began = performance.now()
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
  const told = flags.quiet ? onlyWarnings(events) : events
  let textfile: Textfile<T> | undefined
  const report: CommandContext['report'] = (event) => {
    textfile?.observe(event)
    told(event)
  }
  const onSettingsReread = execution.rereads
    ? rereadOnSignal(
        async () => (await loadSettings(flags)).settings,
        (error) => {
          report({ type: 'warning', message: `the settings stay as they are: ${reasonOf(error)}` })
        },
      )
    : undefined
  // tells it, and returns the exit code: of what went wrong first, where something has already
  const fail = (failure: unknown, before = 0): number => {
    const error = reasonOfAbort(failure, signal)
    const exitCode = before || exitCodeOf(error, rules)
    const message = describeError(error)
    if (flags.json && execution.streams) writeOut(`${JSON.stringify({ type: 'error', message, exitCode })}\n`)
    process.stderr.write(`pgsluice: ${message}\n`)
    return exitCode
  }
  let result: T | undefined
  let exitCode: number
  let loaded: LoadedSettings | undefined
  try {
    // first of all: whatever goes wrong from here on is told in it
    textfile = await execution.textfile?.()
    if (flags.nice) await (await import('./low-priority.js')).lowerPriority(report)
    // nothing that is only odd may stop archiving or recovery
    loaded = await loadSettings(flags, rules === 'ordinary' ? undefined : report)
    result = await execution.run(loaded.settings, { report, signal, onSettingsReread })
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
    exitCode = execution.exitCode?.(result) ?? 0
  } catch (failure) {
    renderer.end()
    exitCode = fail(withSources(failure, loaded?.given ?? []))
  }
  try {
    const seconds = (performance.now() - began) / 1000
    await textfile?.write({ exitCode, ended: new Date(), seconds, ...(result !== undefined && { result }) })
  } catch (failure) {
    exitCode = fail(failure, exitCode)
  }
  setExitCode(exitCode)
}

const TOLD_WHEN_QUIET = new Set<ReportEvent['type']>(['warning', 'page-errors-found', 'backup-unfinished'])

function onlyWarnings(report: CommandContext['report']): CommandContext['report'] {
  return (event) => {
    if (TOLD_WHEN_QUIET.has(event.type)) report(event)
  }
}
