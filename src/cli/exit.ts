/** From an error to its message and its exit code: the only place that knows both. */
import { EXIT_BUG, EXIT_CODES, EXIT_FETCH_FAILED, EXIT_UNFINISHED, reasonOf, ToolError } from '../errors.js'
import { InterruptedError } from './signals.js'

/** Which rules the exit code follows: PostgreSQL reads those of the WAL commands in its own way (G1, A6). */
export type ExitRules = 'ordinary' | 'wal-push' | 'wal-fetch' | 'fetch-ahead'

/** The exit code of an error. */
export function exitCodeOf(error: unknown, rules: ExitRules): number {
  const code = ordinaryCode(error)
  // As an orphan it may become a child of the server, which takes every other code for the crash of one of its processes.
  if (rules === 'fetch-ahead') return EXIT_CODES['answer-no'].exit
  if (rules === 'wal-push') return code > 125 || code === EXIT_BUG ? EXIT_UNFINISHED : code
  if (rules === 'wal-fetch') {
    if (error instanceof ToolError && error.code === 'not-in-archive') return EXIT_CODES['not-in-archive'].exit
    // an orderly shutdown of the server reaches us as SIGTERM, and 143 says just that (G1)
    return error instanceof InterruptedError && code === 143 ? 143 : EXIT_FETCH_FAILED
  }
  return code
}

function ordinaryCode(error: unknown): number {
  if (error instanceof InterruptedError) return error.exitCode
  return error instanceof ToolError ? EXIT_CODES[error.code].exit : EXIT_BUG
}

/** Sets what the process will end with once nothing is left to do. */
export function setExitCode(code: number): void {
  process.exitCode = code
}

/** Ends the process at once, whatever it is doing: the user asked twice. */
export function exitNow(code: number): never {
  process.exit(code)
}

/** What a person is told: the message, each cause that adds something, and the hint. A bug comes with its stack. */
export function describeError(error: unknown): string {
  if (!(error instanceof ToolError)) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return `unexpected error, please report it: ${text}`
  }
  const lines = [error.message]
  let hint = error.hint
  for (let cause: unknown = error.cause, depth = 0; cause !== undefined && depth < 5; depth++) {
    const reason = reasonOf(cause)
    if (reason !== '' && !lines.some((line) => line.includes(reason))) lines.push(`caused by: ${reason}`)
    if (cause instanceof ToolError) hint ??= cause.hint
    cause = cause instanceof Error ? cause.cause : undefined
  }
  if (hint !== undefined) lines.push(`HINT: ${hint}`)
  return lines.join('\n')
}
