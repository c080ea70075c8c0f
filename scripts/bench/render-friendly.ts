/** The table of what a backup costs the database. */
import { median, row, separator } from './render-table.js'
import type { Friendly, FriendlyRun, LoadFigures, Results } from './results.js'

/** What is compared, with its digits. */
const FIGURES: readonly (readonly [title: string, of: (figures: LoadFigures) => number, digits: number])[] = [
  ['median latency ms', ({ medianMs }) => medianMs, 2],
  ['95th percentile ms', ({ p95Ms }) => p95Ms, 2],
  ['99th percentile ms', ({ p99Ms }) => p99Ms, 2],
  ['slowest ms', ({ maxMs }) => maxMs, 0],
  ['transactions a second', ({ tps }) => tps, 1],
]

/** The load alone, line by line, so that the drift of the machine shows; then the tools in the order of the results. */
export function friendlyTable({ friendly, tools }: Results): string {
  if (friendly === undefined) return ''
  const { clients, rate, before, alone, runs, priorities } = friendly
  const columns = ['', 'backup wall s, median', ...FIGURES.map(([title]) => title)]
  const quiet = alone.map(({ when, figures }) =>
    row([`no backup, no archive, ${when}`, '', ...FIGURES.map(([, of, digits]) => of(figures).toFixed(digits))]),
  )
  const lines = tools.flatMap(({ name }) => {
    const own = runs.filter(({ tool }) => tool === name)
    if (own.length === 0) return []
    const wall = median(own.map((run) => run.wall)).toFixed(2)
    return row([name, wall, ...FIGURES.map(([, of, digits]) => compared(own, of, digits))])
  })
  return [
    '## What a backup costs the database',
    `pgbench with ${clients} clients and ${rate} transactions a second: the ${before} s before a backup, in which the tool archives as well → the backup (during / before, of each round by itself). Medians of the rounds. Latency counts from when a transaction was due; fsync is on.`,
    onPriorities(priorities),
    [row(columns), separator(columns), ...quiet, ...lines].join('\n'),
  ].join('\n\n')
}

function onPriorities({ autogroups, ioScheduler }: Friendly['priorities']): string {
  const cpu = autogroups
    ? "Autogroups are on: a niceness counts only within one session, and the server's processes have sessions of their own."
    : 'Autogroups are off: a niceness counts beside all processes of the same cgroup.'
  const disk =
    ioScheduler === undefined
      ? 'The scheduler of the disk is unknown.'
      : `The scheduler of the disk is ${ioScheduler}${ioScheduler === 'bfq' ? '' : ', which does little with the priority of reads and writes'}.`
  return `${cpu} ${disk}`
}

function compared(runs: readonly FriendlyRun[], of: (figures: LoadFigures) => number, digits: number): string {
  const [before, during] = [runs.map((run) => of(run.before)), runs.map((run) => of(run.during))]
  const ratio = median(runs.map((run) => of(run.during) / of(run.before)))
  return `${median(before).toFixed(digits)} → ${median(during).toFixed(digits)} (${ratio.toFixed(2)})`
}
