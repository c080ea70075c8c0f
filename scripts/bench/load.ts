/** A load of pgbench: so many clients, so many transactions a second, until it is ended. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { giveToServerUser, serverEnvironment, serverIds } from '../../test/support/server-user.js'
import { waitUntil } from '../../test/support/wait.js'
import { dueOf, parsePgbenchLog } from './pgbench-log.js'
import type { Cluster } from '../../test/support/postgres.js'
import type { Stretch, Transaction } from './pgbench-log.js'

/** What to run, and how much of it. */
export interface LoadOptions {
  /** The path of pgbench. */
  program: string
  cluster: Cluster
  /** For its script and its log; it exists. */
  directory: string
  clients: number
  /** Transactions a second, of all clients together. */
  rate: number
  /** Rows of pgbench_accounts. */
  accounts: number
  /** Another one for each load: the rows that the last one has updated lie close together now. */
  seed: number
}

/** A load that runs. */
export interface Load {
  /** Lets it run so long. Rejects when pgbench ends. */
  hold(seconds: number): Promise<Stretch>
  /** Lets it run until all that was due before `time` has begun, ends it, and resolves to its transactions. */
  end(time: number): Promise<Transaction[]>
  /** Ends it without its results; nothing happens where it has ended. */
  abandon(): Promise<void>
}

/** What pgbench calls simple-update, on the table of the bench; no two clients wait for the same row for long. */
const SCRIPT = `\\set aid random(1, :accounts)
\\set delta random(-5000, 5000)
begin;
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
insert into load_history (aid, delta, at) values (:aid, :delta, current_timestamp);
end;
`
export const LOAD_TABLE = 'create table if not exists load_history (aid bigint, delta integer, at timestamptz)'
/** Longer than any backup here: pgbench is ended before. */
const LONGEST_SECONDS = 86_400
const CATCH_UP_MS = 60_000
/** pgbench writes its log by blocks, which hold about a hundred transactions. */
const TRANSACTIONS_UNWRITTEN = 200
/** Starts pgbench. Where the server goes away it ends by itself, so that nothing is left when the bench is interrupted. */
export async function startLoad(options: LoadOptions): Promise<Load> {
  const { program, cluster, directory, clients, rate, accounts, seed } = options
  const script = path.join(directory, 'load.sql')
  writeFileSync(script, SCRIPT)
  await giveToServerUser(script)
  const args = [
    ...['--no-vacuum', `--file=${script}`, `--define=accounts=${accounts}`, '--protocol=prepared'],
    ...[`--client=${clients}`, '--jobs=1', `--rate=${rate}`, `--time=${LONGEST_SECONDS}`, `--random-seed=${seed}`],
    ...['--log', `--log-prefix=${path.join(directory, 'load')}`],
  ]
  const env = { ...cluster.env, LD_LIBRARY_PATH: path.join(path.dirname(program), '../lib') }
  const child = spawn(program, args, {
    ...serverIds(),
    cwd: directory,
    env: serverEnvironment(env),
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2000)))
  // not 'exit': all that it said has arrived
  const closed = once(child, 'close').then(
    ([code]) => code as number | null,
    (error: unknown) => {
      said = String(error)
      return null
    },
  )
  const early = closed.then((code) => {
    throw new Error(`pgbench ended early, with ${code}: ${said.trim()}`)
  })
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null
  // also while nobody waits for it
  early.catch(() => undefined)
  return {
    hold: async (seconds) => {
      const from = Date.now()
      const over = new AbortController()
      try {
        await Promise.race([early, pause(seconds * 1000, undefined, { signal: over.signal })])
      } finally {
        // so that the rest of it keeps nobody waiting
        over.abort()
      }
      return { from, to: Date.now() }
    },
    end: async (time) => {
      // It begins transactions in the order of its schedule: once one that was due later has ended, all of before are on their way.
      await waitUntil(
        `pgbench to catch up with ${rate} transactions a second (--rate)`,
        async () => {
          if (hasEnded()) await early
          return readLog(directory).some((one) => dueOf(one) > time)
        },
        CATCH_UP_MS + (TRANSACTIONS_UNWRITTEN / rate) * 1000,
      )
      // The signal of its own clock for --time: it ends what it is at, writes the rest of its log, and is content.
      child.kill('SIGALRM')
      const code = await closed
      if (code !== 0) throw new Error(`pgbench ended with ${code}: ${said.trim()}`)
      return readLog(directory)
    },
    abandon: async () => {
      child.kill('SIGKILL')
      await closed
    },
  }
}

function readLog(directory: string): Transaction[] {
  return readdirSync(directory)
    .filter((name) => /^load\.\d+(\.\d+)?$/.test(name))
    .flatMap((name) => parsePgbenchLog(readFileSync(path.join(directory, name), 'utf8')))
}
