/**
 * The benchmark: every backup tool of this machine on the same cluster and the same S3 server, in turn and several times.
 *
 *   npm run bench -- --versitygw PATH [--size 4GB] [--rounds 3] …      (--help tells the rest)
 *
 * Each result is restored, started and compared with its source. Writes every run as JSON, and tables made from it as
 * Markdown. Linux only: it measures by /proc.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import path from 'node:path'
import { reasonOf } from '#src/errors.js'
import { newHome, removeHome } from '../test/support/cluster-registry.js'
import { ROOT } from '../test/support/oracles.js'
import { postgresBinaries } from '../test/support/postgres-binaries.js'
import { giveToServerUser, runProgram } from '../test/support/server-user.js'
import { findTools, onPath } from './bench/find-tools.js'
import { parseOptions, USAGE } from './bench/options.js'
import { renderResults } from './bench/render.js'
import { copyBothWays, copyIntoSink, moveWal, runRound } from './bench/rounds.js'
import { measureFriendly } from './bench/friendly.js'
import { measureMany } from './bench/many.js'
import { recover } from './bench/recovery.js'
import { measureScaling } from './bench/scaling.js'
import { measureStages } from './bench/stages.js'
import { CONTENTS, makeSegments, makeSource } from './bench/source.js'
import { makeCertificate, namedStore, startSinks, startVersitygw } from './bench/stores.js'
import type { FoundTools } from './bench/find-tools.js'
import type { BenchOptions } from './bench/options.js'
import type { Results } from './bench/results.js'
import type { Bench } from './bench/rounds.js'
import type { Source } from './bench/source.js'
import type { Certificate, Store } from './bench/stores.js'
import type { Tool } from './bench/tool.js'
/** What is to be ended, from the last to the first. */
const endings: (() => Promise<void>)[] = []
async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2))
  if (options.help) {
    process.stdout.write(USAGE)
    return 0
  }
  if (options.render !== undefined) {
    const page = renderResults(JSON.parse(readFileSync(`${options.render}.json`, 'utf8')) as Results)
    writeFileSync(`${options.render}.md`, page)
    if (options.into !== undefined) putInto(options.into, page)
    return 0
  }
  const loadBefore = loadavg()[0] ?? 0
  const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const found = await findTools(options, version)
  const { program, store: makeStore } = chooseStore(options)
  const home = newHome()
  endings.push(() => {
    removeHome(home)
    return Promise.resolve()
  })
  await giveToServerUser(home)
  const needsTls = found.tools.some(({ transport }) => transport === 'https')
  const tls = needsTls && program !== undefined ? await makeCertificate(home) : undefined
  const store = await makeStore(home, tls)
  endings.push(() => store.close())
  say(`tools: ${found.tools.map((tool) => `${tool.name} ${tool.version}`).join('; ')}`)
  for (const { tool, reason } of found.absent) say(`not measured: ${tool}: ${reason}`)
  if (options.phases.size === 1 && options.phases.has('friendly') && found.pgbench === undefined) return 1
  const source = await makeSource(options.major, options.size, {})
  endings.push(() => source.cluster.destroy())
  const results = newResults(options, found, { source, store, loadBefore })
  const bench = { home, source, jobs: options.jobs, results, progress: (line: string) => save(options, results, line) }
  save(options, results, `cluster of ${(source.bytes / 1e9).toFixed(2)} GB`)
  await play(options, bench, found, { store, tls })
  save(options, results, `the results are in ${options.out}.json and ${options.out}.md`)
  return results.failures.length === 0 ? 0 : 1
}

async function play(
  options: BenchOptions,
  bench: Bench,
  { tools, pgbench }: FoundTools,
  { store, tls }: { store: Store; tls: Certificate | undefined },
): Promise<void> {
  const rounds = Array.from({ length: options.rounds }, (_, index) => index + 1)
  const { source, home } = bench
  if (options.phases.has('backup')) {
    for (const round of rounds) {
      // Whatever the cluster was left with in the page cache, every round begins with all of it there.
      await runProgram('sh', ['-c', `cat ${source.cluster.pgdata}/base/*/* > /dev/null`])
      await runRound(bench, tools, round, (tool, turn) => copyBothWays(bench, store, tool, turn))
    }
  }
  const inBucket = tools.filter(({ usesBucket }) => usesBucket)
  if (options.phases.has('sink')) {
    const sinks = await startSinks(tls)
    endings.push(() => sinks.close())
    for (const round of rounds) {
      await runRound(bench, inBucket, round, (tool, turn) => copyIntoSink(bench, sinks, tool, turn))
    }
  }
  if (options.phases.has('stages')) {
    const work = path.join(home, 'stages')
    mkdirSync(work)
    const site = store.site('http')
    if (site !== undefined) bench.results.stages.push(...(await measureStages(source.cluster.pgdata, work, site)))
  }
  // Memory settings of a backup concern neither WAL nor the database.
  const movers = inBucket.filter(({ name }) => !name.includes('--memory'))
  if (options.phases.has('wal')) {
    const segments = await makeSegments(source.cluster, options.segments, path.join(home, 'segments'))
    for (const round of rounds) {
      await runRound(bench, movers, round, (tool, turn) => moveWal(bench, store, tool, turn, segments))
    }
  }
  if (options.phases.has('recovery')) {
    for (const round of rounds) {
      await runRound(bench, movers, round, (tool, turn) => recover(bench, store, tool, turn, options.segments))
    }
  }
  const [ours] = tools.filter(({ isOurs }) => isOurs)
  if (options.phases.has('scaling') && ours !== undefined) {
    await measureScaling(bench, { store, tool: ours, major: options.major, sizes: options.sizes })
  }
  if (options.phases.has('many') && ours !== undefined) {
    const sinks = await startSinks(tls)
    endings.push(() => sinks.close())
    await measureMany(bench, { sinks, tool: ours, ...options })
  }
  if (options.phases.has('friendly') && pgbench !== undefined) {
    await measureFriendly(bench, { ...options, store, pgbench, tools: movers.flatMap(withYielding) })
  }
}

/** A tool, and its way of letting others go first. */
function withYielding(tool: Tool): Tool[] {
  return tool.yielding === undefined ? [tool] : [tool, tool.yielding]
}

/** Replaces what stands between the markers of a page; the headings go one level down. */
function putInto(file: string, results: string): void {
  const [begin, end] = ['<!-- bench: begin -->', '<!-- bench: end -->']
  const text = readFileSync(file, 'utf8')
  const [from, to] = [text.indexOf(begin), text.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`"${file}" lacks the lines "${begin}" and "${end}"`)
  const lower = results.replace(/^#/gm, '##')
  writeFileSync(file, `${text.slice(0, from + begin.length)}\n\n${lower}\n${text.slice(to)}`)
}

function chooseStore(options: BenchOptions): {
  program: string | undefined
  store: (home: string, tls: Certificate | undefined) => Promise<Store>
} {
  const { endpoint, bucket } = options
  if (endpoint !== undefined) {
    return { program: undefined, store: () => Promise.resolve(namedStore(endpoint, bucket)) }
  }
  const program = options.versitygw ?? onPath('versitygw')
  if (program === undefined) throw new Error('there is no S3 server: give --versitygw PATH or --endpoint URL')
  return { program, store: (home, tls) => startVersitygw(program, home, tls) }
}

function newResults(
  options: BenchOptions,
  { tools, absent }: FoundTools,
  { source, store, loadBefore }: { source: Source; store: Store; loadBefore: number },
): Results {
  const [cpu] = cpus()
  return {
    command: ['npm run bench --', ...process.argv.slice(2)].join(' '),
    date: new Date().toISOString(),
    machine: {
      kernel: `Linux ${release()}`,
      cpu: cpu?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      node: process.version,
      loadBefore,
    },
    postgresql: postgresBinaries(options.major).version,
    clusterBytes: source.bytes,
    contents: CONTENTS,
    rounds: options.rounds,
    jobs: options.jobs,
    store: store.description,
    caches:
      'warm: the cluster is read before each round, and the bucket was just written; sync before each run, and nothing is dropped',
    tools: (options.phases.has('friendly') ? tools.flatMap(withYielding) : tools).map(
      ({ name, version, isOurs, transport, usesBucket, compression, remark }) => ({
        name,
        version,
        isOurs,
        transport,
        usesBucket,
        compression,
        remark,
      }),
    ),
    absent,
    runs: [],
    stages: [],
    scaling: [],
    many: [],
    proofs: [],
    failures: [],
  }
}

/** After each step, so that an interrupted bench keeps what it has. */
function save(options: BenchOptions, results: Results, message: string): void {
  say(message)
  mkdirSync(path.dirname(options.out), { recursive: true })
  writeFileSync(`${options.out}.json`, `${JSON.stringify(results, undefined, 1)}\n`)
  writeFileSync(`${options.out}.md`, renderResults(results))
}

function say(message: string): void {
  process.stderr.write(`${message}\n`)
}

/** Resolves to the exit code when the process is told to end. */
function nextSignal(): Promise<number> {
  return new Promise((resolve) => {
    process.once('SIGINT', () => resolve(130))
    process.once('SIGTERM', () => resolve(143))
  })
}
// A failure until the end: a promise that gets lost must not look like success.
process.exitCode = 1
const failed = (error: unknown): number => {
  say(`bench: ${reasonOf(error)}`)
  return 1
}
const code = await Promise.race([main().catch(failed), nextSignal()])
let ended = 0
for (const end of endings.reverse()) ended = await end().then(() => ended, failed)
process.exit(Math.max(code, ended))
