/** Runs the action of a command with the options that every command shares. */
import { execute, type Execution } from './execute.js'
import { settingFlags } from './options.js'

/** Options as commander gives them. */
export type Options = Record<string, unknown> & { json?: boolean; quiet?: boolean; nice?: boolean }

/** Executes a command whose settings are among `options`. */
export function start<T>(options: Options, execution: Omit<Execution<T>, 'flags'>): Promise<void> {
  return execute({
    ...execution,
    flags: {
      ...settingFlags(options),
      json: options.json === true,
      quiet: options.quiet === true,
      nice: options.nice === true,
    },
  })
}
