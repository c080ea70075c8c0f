/**
 * Joins the two halves of a pipe: the stream that produces and the call that consumes it.
 *
 * `Promise.all` rejects while the other side is still at work, and often with the wrong error: when a part fails to
 * upload, the producer is destroyed and reports an abort, and which of the two arrives first is chance.
 */
import { systemErrorCode } from '../errors.js'

/** Waits until every side has ended, so that nothing runs on behind the caller's back; then throws the cause, not its echoes. */
export async function settle<T extends readonly unknown[]>(sides: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  const results = await Promise.allSettled(sides)
  const errors = results.flatMap((result): unknown[] => (result.status === 'rejected' ? [result.reason] : []))
  if (errors.length > 0) throw errors.find((error) => !isEcho(error)) ?? errors[0]
  return results.map((result) => (result as PromiseFulfilledResult<unknown>).value) as unknown as T
}

/** What a stream reports that was ended from outside: it follows from another failure and explains nothing. */
function isEcho(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ABORT_ERR' || code === 'ERR_STREAM_PREMATURE_CLOSE'
}
