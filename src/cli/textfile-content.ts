/**
 * What the textfile of a command says after a run, given what it said before. Three kinds of metrics: of the run (each run
 * replaces them), of its last success, and its answer. Of a run that fails, neither the last success nor a lasting answer
 * is lost: an alarm that looks at them goes on, and damage that was found does not vanish since the next look failed.
 */
import type { Gauge } from './prometheus.js'

/** Commands that leave a textfile. The metrics of each begin with its name; those of `status` with none of the others. */
export type TextfileCommand = 'backup' | 'verify' | 'expire' | 'status'

/** What a command tells of its runs. */
export interface RunMetrics<T> {
  command: TextfileCommand
  /** Whether an answer holds until the next one; else it is of that moment, and worth nothing after a run without one. */
  lasts: boolean
  /** Its clusters, where the answer tells. */
  clusters: (result: T) => string[]
  /** The answer. */
  gauges: (result: T) => Gauge[]
  /** What `success` is, in a sentence. */
  successHelp: string
  /** When what the run is for was achieved; undefined where it was not. */
  success: (result: T, run: { exitCode: number; ended: Date }) => Date | undefined
  /** Whether one run may be about several clusters: then what is of the run has no cluster. */
  isOfSeveral?: boolean
}

/** How a run ended. */
export interface EndedRun<T> {
  exitCode: number
  ended: Date
  seconds: number
  /** Missing where it failed. */
  result?: T
  /** The cluster that it came to know before it failed. */
  cluster?: string | undefined
}

/** Whose a metric is, by its name. */
export function commandOf(metric: string): TextfileCommand | undefined {
  const [, command] = /^pgsluice_(?:(backup|verify|expire)_)?/.exec(metric) ?? []
  if (command !== undefined) return command as TextfileCommand
  return metric.startsWith('pgsluice_') ? 'status' : undefined
}

/** All that the file says after the run. What it says of other clusters than the run's is kept as it is. */
export function textfileGauges<T>(metrics: RunMetrics<T>, run: EndedRun<T>, before: readonly Gauge[]): Gauge[] {
  const { result } = run
  const answer = result === undefined ? [] : metrics.gauges(result)
  const clusters = new Set(result === undefined ? clustersOfFailed(metrics, run, before) : metrics.clusters(result))
  const [cluster] = clusters
  const labels: Record<string, string> = cluster === undefined || metrics.isOfSeveral ? {} : { cluster }
  const success = result === undefined ? undefined : metrics.success(result, run)
  const about = runGauges(metrics.command, run, labels)
  const successGauge = gaugeOf(metrics.command, 'last_success_timestamp_seconds', metrics.successHelp, labels, success)
  const replaced = new Set([...about, ...(success ? [successGauge] : [])].map(({ name }) => name))

  const isKept = (name: string, of: string | undefined): boolean => {
    if (of !== undefined && !clusters.has(of)) return true
    if (replaced.has(name)) return false
    return name === successGauge.name || (result === undefined && metrics.lasts)
  }
  const kept = before.map(({ name, help, samples }) => ({
    name,
    help,
    samples: samples.filter((sample) => isKept(name, sample.labels['cluster'])),
  }))
  return merge([...about, successGauge, ...answer, ...kept])
}

/** The cluster that it knew; else that of the file, since a file is of one job, and the job's cluster has not changed by failing. */
function clustersOfFailed<T>(
  { isOfSeveral }: RunMetrics<T>,
  { cluster }: EndedRun<T>,
  before: readonly Gauge[],
): string[] {
  if (isOfSeveral) return []
  if (cluster !== undefined) return [cluster]
  const told = new Set(before.flatMap(({ samples }) => samples.flatMap(({ labels }) => labels['cluster'] ?? [])))
  return told.size === 1 ? [...told] : []
}

function runGauges<T>(command: TextfileCommand, run: EndedRun<T>, labels: Record<string, string>): Gauge[] {
  const { ended, seconds, exitCode } = run
  return [
    gaugeOf(command, 'last_run_timestamp_seconds', 'When the last run ended, by the clock of its host.', labels, ended),
    gaugeOf(command, 'last_run_duration_seconds', 'How long the last run took.', labels, seconds),
    gaugeOf(command, 'last_run_exit_code', 'Exit code of the last run.', labels, exitCode),
  ]
}

function gaugeOf(
  command: TextfileCommand,
  name: string,
  help: string,
  labels: Record<string, string>,
  value: number | Date | undefined,
): Gauge {
  const number = value instanceof Date ? value.getTime() / 1000 : value
  return { name: `pgsluice_${command}_${name}`, help, samples: [{ labels, value: number }] }
}

/** Samples of one metric stand together, under the first help. */
function merge(gauges: readonly Gauge[]): Gauge[] {
  const merged = new Map<string, Gauge>()
  for (const { name, help, samples } of gauges) {
    const there = merged.get(name)
    if (there) there.samples.push(...samples)
    else merged.set(name, { name, help, samples: [...samples] })
  }
  return [...merged.values()]
}
