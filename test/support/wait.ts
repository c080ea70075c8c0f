/** Waiting for a condition in tests: ask again until it holds, never sleep and hope. */

/**
 * Asks `condition` until it returns something other than undefined or false; fails with `what` after the time. A question that
 * costs more than a look at a file is asked less often: what waits for a server must not keep the core busy that it needs.
 */
export async function waitUntil<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const asked = performance.now()
    const result = await condition()
    if (result !== undefined && result !== false) return result
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`)
    const pauseMs = Math.min(Math.max(4 * (performance.now() - asked), 10), 100)
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}
