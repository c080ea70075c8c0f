/**
 * The one error class of pgsluice, and the table from its code to the exit code of the process.
 *
 * An error that is not a ToolError is a bug: it ends the process with 70 and its stack. A ToolError is printed as one
 * line, its causes below it, and a hint where there is one. Texts follow PostgreSQL's style: lower case, no full stop,
 * `could not <verb> <thing> "<name>": <reason>`; a hint is a full sentence.
 */

/** What happened, in the words that decide the exit code. */
export type ErrorCode =
  | 'answer-no'
  | 'usage'
  | 'configuration'
  | 'storage'
  | 'database'
  | 'file-system'
  | 'damaged'
  | 'wal-missing'
  | 'refused'
  | 'conflict'
  | 'interrupted'
  | 'not-in-archive'

/** Exit code of each error code, with the sentence that `--help` and the documentation print. */
export const EXIT_CODES: Readonly<Record<ErrorCode, { exit: number; meaning: string }>> = {
  'answer-no': { exit: 1, meaning: 'the answer is no' },
  usage: { exit: 2, meaning: 'wrong usage' },
  configuration: { exit: 2, meaning: 'wrong configuration' },
  storage: { exit: 3, meaning: 'the storage failed; a retry may help' },
  database: { exit: 3, meaning: 'the database failed; a retry may help' },
  'file-system': { exit: 3, meaning: 'the file system failed; a retry may help' },
  damaged: { exit: 3, meaning: 'data in the repository or on disk is damaged' },
  'wal-missing': { exit: 3, meaning: 'WAL that is needed is not in the archive' },
  refused: { exit: 4, meaning: 'refused, to protect data' },
  conflict: { exit: 4, meaning: 'something else is already stored under that name' },
  interrupted: { exit: 130, meaning: 'interrupted; cleaned up' },
  'not-in-archive': { exit: 44, meaning: 'definitely not in the archive (wal fetch only)' },
}

/** Exit code of `backup` when the backup is complete but the source has corrupt pages. */
export const EXIT_PAGE_ERRORS = 5
/** Exit code of a bug: an error nobody expected, printed with its stack. */
export const EXIT_BUG = 70
/** Exit code of `wal fetch` for everything that is neither success nor a definite absence (G1). */
export const EXIT_FETCH_FAILED = 200
/** The exit code a process begins with, so that a lost promise can never end it with 0. */
export const EXIT_UNFINISHED = 3

/** Options of {@link ToolError}. */
export interface ToolErrorOptions {
  /** A full sentence that says what to do about it. */
  hint?: string | undefined
  /** What made this happen; always kept. */
  cause?: unknown
}

/** An error that a user can act on. */
export class ToolError extends Error {
  readonly code: ErrorCode
  readonly hint: string | undefined

  constructor(code: ErrorCode, message: string, options: ToolErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ToolError'
    this.code = code
    this.hint = options.hint
  }
}

/** The key does not exist, and the storage said so definitely (G2). */
export class NotFoundError extends ToolError {
  readonly key: string
  constructor(key: string, options: ToolErrorOptions = {}) {
    super('storage', `"${key}" does not exist`, options)
    this.name = 'NotFoundError'
    this.key = key
  }
}

/** A create-only write found the key taken. Nothing was written. */
export class ExistsError extends ToolError {
  readonly key: string
  constructor(key: string, options: ToolErrorOptions = {}) {
    super('conflict', `"${key}" exists already`, options)
    this.name = 'ExistsError'
    this.key = key
  }
}

/** Some objects could not be deleted; all the others were. */
export class DeleteError extends ToolError {
  readonly failed: readonly { key: string; reason: string }[]
  constructor(failed: readonly { key: string; reason: string }[], message: string, options: ToolErrorOptions = {}) {
    super('storage', message, options)
    this.name = 'DeleteError'
    this.failed = failed
  }
}

/** The text of whatever was thrown, without its stack. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` of a Node.js system error (`ENOENT`, `EEXIST` …), or undefined. */
export function systemErrorCode(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code
  return undefined
}

/** What made an operation end: the reason of the signal where the error is only the echo of an abort. */
export function reasonOfAbort(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted && error instanceof Error && error.name === 'AbortError' ? signal.reason : error
}
