/** What every command is given besides its settings and options. */
import type { Settings } from '../config/settings.js'
import type { OnUnreadable } from '../repository/catalog.js'
import type { Report } from '../report.js'

export interface CommandContext {
  report: Report
  signal: AbortSignal
  /** Calls back with the settings whenever they were read again (SIGUSR2), until the function that it returns is called. */
  onSettingsReread?: ((listener: (settings: Settings) => void) => () => void) | undefined
}

/** Warns of records that cannot be used, and are passed over. */
export function warnOfUnreadable({ report }: CommandContext): OnUnreadable {
  return ({ id, error }) => {
    report({
      type: 'warning',
      message: `backup ${id} is passed over: ${error.message}`,
      ...(error.hint && { hint: error.hint }),
    })
  }
}
