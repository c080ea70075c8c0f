/** The option `--textfile`: what a run leaves for monitoring. Loads nothing where it is not given. */
import { Option } from 'commander'
import { nonEmpty, onlyOnce } from './options.js'
import type * as AllMetrics from './run-metrics.js'
import type { Options } from './start.js'
import type { RunMetrics } from './textfile-content.js'
import type { Textfile } from './textfile.js'

/** The option. It is none of the settings: one file is of one job, and a setting would be of every run. */
export function textfileOption(): Option {
  return new Option(
    '--textfile <PATH>',
    'after the run, write metrics to PATH for the textfile collector of Prometheus; ends in .prom, one file a job',
  ).argParser((value: string, before: string | undefined) => onlyOnce(nonEmpty(value), before))
}

/** How to open the file that the options name; undefined where they name none. */
export function textfileOf<T>(
  { textfile: path }: Options,
  load: (all: typeof AllMetrics) => RunMetrics<T>,
): (() => Promise<Textfile<T>>) | undefined {
  if (typeof path !== 'string') return undefined
  return async () => {
    const metrics = load(await import('./run-metrics.js'))
    return (await import('./textfile.js')).Textfile.open(path, metrics)
  }
}
