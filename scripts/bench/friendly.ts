/** What a backup costs the database: the latency of a steady load during a backup of each tool, and just before it. */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { query } from '../../test/support/postgres.js'
import { giveToServerUser, runProgram } from '../../test/support/server-user.js'
import { LOAD_TABLE, startLoad } from './load.js'
import { figuresOf } from './pgbench-log.js'
import { priorities } from './priorities.js'
import { archiveInto, forget, runRound, sceneOf, takeBackup } from './rounds.js'
import { archiveAll } from './source.js'
import type { Load } from './load.js'
import type { Friendly, LoadFigures } from './results.js'
import type { Bench, Turn } from './rounds.js'
import type { Store } from './stores.js'
import type { Tool } from './tool.js'

/** What the phase is told. */
export interface FriendlyOptions {
  store: Store
  tools: readonly Tool[]
  /** The path of pgbench. */
  pgbench: string
  rounds: number
  clients: number
  /** Transactions a second. */
  rate: number
  /** Seconds without a backup ahead of each. */
  before: number
}

/** How long a load runs before it counts: connections are made, and the pages of a checkpoint are written. */
const SETTLE_SECONDS = 5
/**
 * Measures every tool under load, round by round, and the load alone ahead of each round and at the end. It comes last of all
 * that uses the source: the load changes tables whose hashes the others compare, and the server is another one then, since a
 * commit that waits for no disk would not notice who else uses it.
 */
export async function measureFriendly(bench: Bench, options: FriendlyOptions): Promise<void> {
  const { tools, rounds, clients, rate, before } = options
  const { cluster } = bench.source
  const friendly: Friendly = { clients, rate, before, priorities: priorities(cluster.pgdata), alone: [], runs: [] }
  bench.results.friendly = friendly
  await cluster.stop()
  await cluster.start({ settings: { fsync: 'on' } })
  await query(cluster, LOAD_TABLE)
  const alone = async (when: string, seed: number): Promise<void> => {
    const directory = path.join(bench.home, `alone-${seed}`)
    mkdirSync(directory)
    await giveToServerUser(directory)
    const figures = await loadAlone(bench, options, { directory, seed })
    friendly.alone.push({ when, figures })
    bench.progress(`${when}: pgbench alone: ${inWords(figures)}`)
  }
  for (let round = 1; round <= rounds; round++) {
    await runProgram('sh', ['-c', `cat ${cluster.pgdata}/base/*/* > /dev/null`])
    await alone(`before round ${round}`, seedOf(round, 0))
    await runRound(bench, tools, round, (tool, turn) => backUpUnderLoad(bench, options, friendly, tool, turn))
  }
  await alone('at the end', seedOf(rounds + 1, 0))
}

async function loadAlone(
  bench: Bench,
  options: FriendlyOptions,
  where: { directory: string; seed: number },
): Promise<LoadFigures> {
  const load = await settledLoad(bench, options, where)
  try {
    const stretch = await load.hold(options.before)
    return figuresOf(await load.end(stretch.to), stretch)
  } finally {
    await load.abandon()
  }
}

async function backUpUnderLoad(
  bench: Bench,
  options: FriendlyOptions,
  friendly: Friendly,
  tool: Tool,
  turn: Turn,
): Promise<void> {
  const { store, before: seconds } = options
  const scene = sceneOf(bench, store, tool, turn)
  turn.subject = 'friendly'
  try {
    // Before the backup as well: what archiving costs is no part of what the backup adds.
    await archiveInto(bench, tool, scene, turn)
    const load = await settledLoad(bench, options, { directory: turn.work, seed: seedOf(turn.round, turn.turn) })
    try {
      const before = await load.hold(seconds)
      const { began, usage } = await takeBackup(bench, store, tool, scene, turn, { ownSession: true })
      const during = { from: began, to: began + usage.wall * 1000 }
      const transactions = await load.end(during.to)
      const figures = { before: figuresOf(transactions, before), during: figuresOf(transactions, during) }
      friendly.runs.push({ tool: tool.name, round: turn.round, turn: turn.turn, wall: usage.wall, ...figures })
      bench.progress(
        `round ${turn.round}: ${tool.name}: ${inWords(figures.before)} before; ${inWords(figures.during)} during ${usage.wall.toFixed(2)} s of a backup`,
      )
    } finally {
      await load.abandon()
    }
    // Whatever works ahead in the background has ended then, and writes nothing into a place that is gone.
    await archiveAll(bench.source.cluster)
  } finally {
    await forget(bench, store, tool, scene)
  }
}

/** A backup begins with a checkpoint, after which pages go to WAL whole: so does what it is compared with. */
async function settledLoad(
  bench: Bench,
  { pgbench, clients, rate }: FriendlyOptions,
  where: { directory: string; seed: number },
): Promise<Load> {
  const { cluster, tables } = bench.source
  const accounts = tables.get('pgbench_accounts')?.rows ?? 0
  const load = await startLoad({ program: pgbench, cluster, clients, rate, accounts, ...where })
  try {
    await query(cluster, 'checkpoint')
    await load.hold(SETTLE_SECONDS)
    return load
  } catch (error) {
    await load.abandon()
    throw error
  }
}

function seedOf(round: number, turn: number): number {
  return round * 1000 + turn
}

function inWords({ medianMs, p99Ms }: LoadFigures): string {
  return `median ${medianMs.toFixed(2)} ms, 99th percentile ${p99Ms.toFixed(2)} ms`
}
