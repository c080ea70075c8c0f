/** What crosses between the pool and its threads: jobs, results and errors as plain data. Payload never does. */
import { ExistsError, NotFoundError, ToolError, type ErrorCode } from '../errors.js'
import type { Job, JobResult } from '../archive/jobs.js'
import type { StorageOptions } from '../storage/storage-options.js'

/** What a thread is started with. */
export interface ThreadData {
  storage: StorageOptions
  /** One 64-bit counter: bytes done by this thread. */
  progress: SharedArrayBuffer
}

export type ToThread = { type: 'job'; job: Job } | { type: 'abort' } | { type: 'close' }

export type FromThread =
  | { type: 'result'; result: JobResult }
  | { type: 'error'; error: PlainError }
  | { type: 'upload'; key: string; uploadId: string }

/** An error that was taken apart. */
export interface PlainError {
  kind: 'tool' | 'not-found' | 'exists' | 'other'
  name: string
  message: string
  stack?: string | undefined
  code?: string | undefined
  key?: string | undefined
  hint?: string | undefined
  cause?: PlainError | undefined
}

/** Takes an error apart, causes included. */
export function toPlainError(error: unknown): PlainError {
  if (!(error instanceof Error)) return { kind: 'other', name: 'Error', message: String(error) }
  const { name, message, stack } = error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  const cause = error.cause === undefined ? undefined : toPlainError(error.cause)
  const plain = { name, message, stack, code, cause }
  if (error instanceof NotFoundError) return { ...plain, kind: 'not-found', key: error.key, hint: error.hint }
  if (error instanceof ExistsError) return { ...plain, kind: 'exists', key: error.key, hint: error.hint }
  if (error instanceof ToolError) return { ...plain, kind: 'tool', hint: error.hint }
  return { ...plain, kind: 'other' }
}

/** Puts an error together again, so that callers can tell it by its class and code. */
export function fromPlainError(plain: PlainError): Error {
  const cause = plain.cause && fromPlainError(plain.cause)
  const options = { hint: plain.hint, cause }
  let error: Error
  if (plain.kind === 'not-found') error = new NotFoundError(plain.key ?? '', options)
  else if (plain.kind === 'exists') error = new ExistsError(plain.key ?? '', options)
  else if (plain.kind === 'tool') error = new ToolError(plain.code as ErrorCode, plain.message, options)
  else
    error = Object.assign(new Error(plain.message, { cause }), { name: plain.name }, plain.code && { code: plain.code })
  if (plain.stack !== undefined) error.stack = plain.stack
  return error
}
