/** Waits for something that knows no AbortSignal, but no longer than a signal allows. */

/**
 * Settles as `promise` does, or rejects with the signal's reason as soon as it fires. What `promise` still does
 * afterwards is not waited for, so it must not hold anything that is used again.
 */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => {
      reject(signal.reason as Error)
    }
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop)
  }
}
