/** SIGINT, SIGTERM and SIGHUP become one AbortSignal; a second one ends the process at once. */
import { constants } from 'node:os'
import { ToolError } from '../errors.js'

/** A terminal and the shell front pass the same signal on: repeats within this time are one signal. */
const ONE_SIGNAL_MS = 1000

/** The reason that an interrupted command rejects with. */
export class InterruptedError extends ToolError {
  readonly exitCode: number
  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super('interrupted', `interrupted by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/**
 * SIGUSR2 asks for the settings to be read again; without a handler it would end the process. `read` is run for each
 * signal and its settings go to whoever follows; those that came before anybody did are for the first who does.
 */
export function rereadOnSignal<T>(
  read: () => Promise<T>,
  onFailure: (error: unknown) => void,
): (listener: (settings: T) => void) => () => void {
  let listener: ((settings: T) => void) | undefined
  let unheard: { settings: T } | undefined
  process.on('SIGUSR2', () => {
    read().then((settings) => {
      if (listener) listener(settings)
      else unheard = { settings }
    }, onFailure)
  })
  return (follow) => {
    listener = follow
    if (unheard) follow(unheard.settings)
    unheard = undefined
    return () => {
      if (listener === follow) listener = undefined
    }
  }
}

/** A signal that aborts when the process is told to end. `onFirst` is called then, before the clean-up. */
export function signalToAbort(onFirst: (name: string) => void, exitNow: (code: number) => never): AbortSignal {
  const controller = new AbortController()
  let first = 0
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const reason = new InterruptedError(name)
      if (controller.signal.aborted) {
        if (performance.now() - first > ONE_SIGNAL_MS) exitNow(reason.exitCode)
        return
      }
      first = performance.now()
      onFirst(name)
      controller.abort(reason)
    })
  }
  return controller.signal
}
