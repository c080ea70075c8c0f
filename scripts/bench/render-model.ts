/** The tables of what each step costs, and of how the whole grows. */
import { mean, median, row, separator } from './render-table.js'
import type { ManyRun, Results, ScalingRun, Stage } from './results.js'

/** Seconds of CPU for each GB of the cluster, by step, and each step's share. */
export function stagesTable(stages: readonly Stage[]): string {
  if (stages.length === 0) return ''
  const columns = ['step', 'CPU s a GB', 'share', 'wall s a GB', 'GB a wall second']
  const parts = (['backup', 'restore'] as const).map((part) => {
    const own = stages.filter((stage) => stage.part === part)
    const perGb = (stage: Stage, what: 'cpu' | 'wall'): number => stage[what] / (stage.bytes / 1e9)
    const sum = (what: 'cpu' | 'wall'): number => own.reduce((total, stage) => total + perGb(stage, what), 0)
    const lines = own.map((stage) =>
      row([
        stage.name,
        perGb(stage, 'cpu').toFixed(3),
        `${((perGb(stage, 'cpu') / sum('cpu')) * 100).toFixed(0)} %`,
        perGb(stage, 'wall').toFixed(3),
        (1 / perGb(stage, 'wall')).toFixed(1),
      ]),
    )
    const all = row([`${part}, all of it on one thread`, sum('cpu').toFixed(3), '', sum('wall').toFixed(3), ''])
    return [row(columns), separator(columns), ...lines, all].join('\n')
  })
  return ['## What each step costs', ...parts].join('\n\n')
}

/** Wall time by bytes and threads. */
export function scalingTable(runs: readonly ScalingRun[]): string {
  if (runs.length === 0) return ''
  const columns = ['', 'threads', 'GB', 'wall s', 'wall s a GB', 'CPU s', 'CPU s a GB', 'peak RSS MiB, tree']
  const lines = [...runs]
    .sort((a, b) => (a.subject < b.subject ? -1 : a.subject > b.subject ? 1 : a.jobs - b.jobs || a.bytes - b.bytes))
    .map(({ subject, jobs, bytes, wall, user, system, peakRssKiB }) =>
      row([
        subject,
        String(jobs),
        (bytes / 1e9).toFixed(2),
        wall.toFixed(2),
        (wall / (bytes / 1e9)).toFixed(2),
        (user + system).toFixed(2),
        ((user + system) / (bytes / 1e9)).toFixed(2),
        (peakRssKiB / 1024).toFixed(0),
      ]),
    )
  return ['## Sizes and threads', [row(columns), separator(columns), ...lines].join('\n')].join('\n\n')
}

/** Files a second, of the whole command from its start to its end, and what a file costs beyond the cluster without them. */
export function manyTable(runs: readonly ManyRun[]): string {
  const [bare] = runs
  if (bare === undefined) return ''
  const columns = ['', 'files', 'GB', 'wall s', 'files a second', 'CPU s', 'CPU µs a file more', 'peak RSS MiB, tree']
  const cpuOf = ({ user, system }: ManyRun): number => user + system
  const lines = runs.map((run) => {
    const more = run.files - bare.files
    return row([
      run.what,
      String(run.files),
      (run.bytes / 1e9).toFixed(2),
      run.wall.toFixed(2),
      (run.files / run.wall).toFixed(0),
      cpuOf(run).toFixed(2),
      more > 0 ? (((cpuOf(run) - cpuOf(bare)) / more) * 1e6).toFixed(1) : '',
      (run.peakRssKiB / 1024).toFixed(0),
    ])
  })
  return ['## Many small files', [row(columns), separator(columns), ...lines].join('\n')].join('\n\n')
}

/** What a server in recovery waits for, by tool; the tools in the order of the results. */
export function recoveryTable({ recoveries = [], tools }: Results): string {
  if (recoveries.length === 0) return ''
  const columns = [
    '',
    'ms a segment once warm, mean: median of the rounds',
    'median call ms',
    'slowest call ms once warm',
    'segments',
    'recovery s',
  ]
  const lines = tools.flatMap(({ name }) => {
    const own = recoveries.filter(({ tool }) => tool === name)
    if (own.length === 0) return []
    const warm = own.map(({ calls, cold }) => calls.slice(cold))
    const means = warm.map(mean)
    return row([
      name,
      median(means).toFixed(1),
      median(warm.flat()).toFixed(1),
      Math.max(...warm.flat()).toFixed(0),
      median(own.map(({ calls }) => calls.length)).toFixed(0),
      median(own.map(({ seconds }) => seconds)).toFixed(1),
    ])
  })
  return ['## a server in recovery', [row(columns), separator(columns), ...lines].join('\n')].join('\n\n')
}
