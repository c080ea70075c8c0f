/** Tries again while there is time: an outage of the store ends, and recovery goes on as if nothing had been (G1). */
import { setTimeout as sleep } from 'node:timers/promises'
import { reasonOf, ToolError, type ErrorCode } from '../errors.js'
import type { CommandContext } from './context.js'

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 15_000
/** The same reason again is said no more often. */
const REMIND_MS = 30_000
/** Between two looks at an attempt that gets on after its time. */
const LOOK_MS = 200

/** What may pass: an upload under way fills a hole, a disk gets room, an operator mends credentials. */
const PASSING: readonly ErrorCode[] = ['storage', 'damaged', 'wal-missing', 'file-system', 'database']

/** How long to try. */
export interface RetryOptions {
  /** From now on. */
  forMs: number
  /** End even an attempt that is under way when the time is up. */
  cutShort: boolean
  /** Whether an attempt gets on: it is cut short only when it does not. Default: it does not. */
  isMoving?: () => boolean
}

/**
 * The result of the first attempt that succeeds. Rejects with the error of the last one when the time is up, and at once
 * with one that will not pass.
 */
export async function retry<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  { forMs, cutShort, isMoving = () => false }: RetryOptions,
  { report, signal }: CommandContext,
): Promise<T> {
  const deadline = performance.now() + forMs
  const timeUp = new AbortController()
  // a timer of our own, which keeps the process alive: with nothing else to wait for it would end before the time
  const cut = (): void => {
    if (isMoving()) timer = setTimeout(cut, LOOK_MS)
    else timeUp.abort()
  }
  let timer = cutShort ? setTimeout(cut, Math.max(forMs, 0)) : undefined
  try {
    return await attempts(attempt, { deadline, forMs, timeUp: timeUp.signal }, { report, signal })
  } finally {
    clearTimeout(timer)
  }
}

async function attempts<T>(
  attempt: (signal: AbortSignal) => Promise<T>,
  { deadline, forMs, timeUp }: { deadline: number; forMs: number; timeUp: AbortSignal },
  { report, signal }: CommandContext,
): Promise<T> {
  const both = AbortSignal.any([signal, timeUp])
  let last: ToolError | undefined
  let told = { reason: '', at: 0 }
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt(both)
    } catch (error) {
      if (signal.aborted) throw error
      if (timeUp.aborted) throw last ?? tooSlow(forMs, error)
      if (!(error instanceof ToolError) || !mayPass(error)) throw error
      last = error
    }
    const now = performance.now()
    // without this a thousand servers that lost one store would come back to it at once
    const wait = pause * (0.75 + Math.random() / 2)
    if (now + wait >= deadline) throw last
    const reason = describe(last)
    if (reason !== told.reason || now - told.at >= REMIND_MS) {
      report({ type: 'warning', message: `${reason}; trying again for ${Math.round((deadline - now) / 1000)} s` })
      told = { reason, at: now }
    }
    await sleep(wait, undefined, { signal })
  }
}

/** Credentials that nobody had at that moment, too: the SDK asks for them anew, and a role or a token is renewed elsewhere. */
function mayPass({ code, cause }: ToolError): boolean {
  return PASSING.includes(code) || (cause instanceof Error && cause.name === 'CredentialsProviderError')
}

function tooSlow(forMs: number, cause: unknown): ToolError {
  return new ToolError('storage', `the store did not answer within ${(forMs / 1000).toFixed(1)} s`, { cause })
}

function describe(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? reasonOf(error.cause) : ''
  const message = reasonOf(error)
  return cause === '' || message.includes(cause) ? message : `${message}: ${cause}`
}
