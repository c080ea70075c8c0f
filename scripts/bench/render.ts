const MIB = 1024
/** The page of one set of results, in Markdown. */
import { friendlyTable } from './render-friendly.js'
import { manyTable, recoveryTable, scalingTable, stagesTable } from './render-model.js'
import { mean, median, row, separator } from './render-table.js'
import type { Results, Run, ToolFacts } from './results.js'

/** One line a tool: what the reader compares is first. */
interface Line {
  tool: ToolFacts
  runs: Run[]
  wall: number
  cpu: number
}

export function renderResults(results: Results): string {
  const subjects = [...new Set(results.runs.map(({ subject }) => subject))]
  return [
    head(results),
    ...subjects.map((subject) => table(results, subject)),
    recoveryTable(results),
    stagesTable(results.stages),
    scalingTable(results.scaling),
    manyTable(results.many ?? []),
    friendlyTable(results),
    proofs(results),
    failures(results),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
    .concat('\n')
}

function head(results: Results): string {
  const { machine } = results
  const facts: readonly (readonly [string, string])[] = [
    ['date', results.date],
    ['command', `\`${results.command}\``],
    [
      'machine',
      `${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 1024 ** 3).toFixed(0)} GiB, ${machine.kernel}`,
    ],
    ['load before', machine.loadBefore.toFixed(2)],
    ['cluster', `PostgreSQL ${results.postgresql}, ${(results.clusterBytes / 1e9).toFixed(2)} GB: ${results.contents}`],
    ['S3 server', results.store],
    ['runs', `${results.rounds} rounds, every second one in reverse order, parallelism ${results.jobs}`],
    ['caches', results.caches],
    ['Node.js', machine.node],
  ]
  const tools = results.tools.map((tool) =>
    row([tool.name, tool.version, tool.transport, tool.compression, tool.remark ?? '']),
  )
  return [
    '# Benchmark results',
    'Made by `npm run bench` from the JSON beside it, which has every single run. CPU seconds are user and system, of the whole process tree.',
    ['| | |', '| --- | --- |', ...facts.map(row)].join('\n'),
    ['| tool | version | speaks | compression | |', '| --- | --- | --- | --- | --- |', ...tools].join('\n'),
    ...results.absent.map(({ tool, reason }) => `Not measured: ${tool}: ${reason}.`),
  ].join('\n\n')
}

function table(results: Results, subject: Run['subject']): string {
  const lines = results.tools.flatMap((tool): Line[] => {
    const runs = results.runs.filter((run) => run.tool === tool.name && run.subject === subject)
    if (runs.length === 0) return []
    return [{ tool, runs, wall: median(runs.map(({ wall }) => wall)), cpu: median(runs.map(cpuOf)) }]
  })
  return subject.startsWith('wal ') ? walTable(subject, lines) : copyTable(subject, lines)
}

function copyTable(subject: string, lines: readonly Line[]): string {
  const columns = [
    '',
    'wall s, median (min)',
    'times as fast as the best other',
    'CPU s, median (min)',
    'CPU, of the smallest other',
    'peak RSS MiB, tree (shared pages once)',
    'CPU s of PostgreSQL',
    'CPU s of the S3 server',
    'written back after, s',
    'stored MB',
  ]
  const rows = lines.map((line) => {
    const { tool, runs } = line
    return row([
      tool.name,
      `${line.wall.toFixed(2)} (${least(runs, ({ wall }) => wall)})`,
      ratio(line, lines, 'wall'),
      `${line.cpu.toFixed(2)} (${least(runs, cpuOf)})`,
      ratio(line, lines, 'cpu'),
      `${(Math.max(...runs.map((run) => run.peakRssKiB)) / MIB).toFixed(0)} (${(Math.max(...runs.map((run) => run.peakPssKiB)) / MIB).toFixed(0)})`,
      optional(runs, ({ serverCpu }) => serverCpu, 2),
      optional(runs, ({ storeCpu }) => storeCpu, 2),
      optional(runs, ({ flush }) => flush, 2),
      optional(runs, ({ storedBytes }) => (storedBytes === undefined ? undefined : storedBytes / 1e6), 0),
    ])
  })
  return [`## ${subject}`, [row(columns), separator(columns), ...rows].join('\n')].join('\n\n')
}

function walTable(subject: string, lines: readonly Line[]): string {
  const columns = [
    '',
    'ms a segment, median (min)',
    'times as fast as the best other',
    'slowest call ms',
    'CPU ms a segment',
    'CPU, of the smallest other',
    'CPU ms a segment of the S3 server',
  ]
  const rows = lines.map((line) => {
    const each = (run: Run): number => mean(run.calls ?? [0])
    const { tool, runs } = line
    const count = runs[0]?.calls?.length ?? 1
    const times = runs.map(each)
    return row([
      tool.name,
      `${median(times).toFixed(1)} (${Math.min(...times).toFixed(1)})`,
      ratio(line, lines, 'wall'),
      median(runs.map((run) => Math.max(...(run.calls ?? [0])))).toFixed(0),
      ((line.cpu / count) * 1000).toFixed(1),
      ratio(line, lines, 'cpu'),
      optional(runs, ({ storeCpu }) => (storeCpu === undefined ? undefined : (storeCpu / count) * 1000), 1),
    ])
  })
  return [`## ${subject}`, [row(columns), separator(columns), ...rows].join('\n')].join('\n\n')
}

/** How many times as fast as the fastest of the others, or which part of the CPU time of the thriftiest. Against itself, or with nobody to compare, there is nothing to say. */
function ratio(line: Line, lines: readonly Line[], what: 'wall' | 'cpu'): string {
  const others = lines.filter(
    (other) =>
      other !== line && !other.tool.isOurs && other.tool.usesBucket && other.tool.transport === line.tool.transport,
  )
  if (others.length === 0) return ''
  const best = Math.min(...others.map((other) => other[what]))
  return (what === 'wall' ? best / line.wall : line.cpu / best).toFixed(2)
}

function proofs({ proofs: all }: Results): string {
  if (all.length === 0) return ''
  const lines = all.map(
    ({ tool, tables, rows, ledgerEntries }) =>
      `- ${tool}: ${tables} tables with ${rows} rows have the hashes of the source, and the ledger its ${ledgerEntries} entries.`,
  )
  return [
    '## Proof',
    'One restored cluster of each tool was started, recovered, and read whole:',
    lines.join('\n'),
  ].join('\n\n')
}

function failures({ failures: all }: Results): string {
  if (all.length === 0) return ''
  const lines = all.map(
    ({ tool, subject, round, reason }) => `- ${tool}, ${subject}, round ${round}: ${reason.split('\n')[0] ?? ''}`,
  )
  return ['## Failed', lines.join('\n')].join('\n\n')
}

function cpuOf(run: Run): number {
  return run.user + run.system
}

function optional(runs: readonly Run[], of: (run: Run) => number | undefined, digits: number): string {
  const known = runs.map(of).filter((value) => value !== undefined)
  return known.length === 0 ? '' : median(known).toFixed(digits)
}

function least(runs: readonly Run[], of: (run: Run) => number): string {
  return Math.min(...runs.map(of)).toFixed(2)
}
