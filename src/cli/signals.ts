/** SIGINT, SIGTERM and SIGHUP become one AbortSignal; a second signal ends the process at once. */
import { constants } from 'node:os'
import { ToolError } from '../errors.js'

/** The reason that an interrupted command rejects with. */
export class InterruptedError extends ToolError {
  readonly exitCode: number
  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super('interrupted', `interrupted by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

/** A signal that aborts when the process is told to end. `onFirst` is called then, before the clean-up. */
export function signalToAbort(onFirst: (name: string) => void, exitNow: (code: number) => never): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const reason = new InterruptedError(name)
      if (controller.signal.aborted) exitNow(reason.exitCode)
      onFirst(name)
      controller.abort(reason)
    })
  }
  return controller.signal
}
