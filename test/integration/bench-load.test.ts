/** The load of the bench on a real server: it ends when it is told to, with all of its transactions. */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { LOAD_TABLE, startLoad } from '../../scripts/bench/load.js'
import { dueOf, figuresOf } from '../../scripts/bench/pgbench-log.js'
import { requireOracles } from '../support/oracles.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

const MAJOR = Math.max(...availableMajors())

test('a load of pgbench writes every transaction to its log, and one that ends by itself says why', async (t) => {
  const oracles = requireOracles(t, MAJOR)
  if (oracles === undefined) return
  await using cluster = await startCluster({ major: MAJOR })
  await query(cluster, LOAD_TABLE)
  await query(cluster, 'create table pgbench_accounts as select i as aid, 0 as abalance from generate_series(1, 100) i')
  const options = { program: oracles.program('pgbench'), cluster, clients: 2, rate: 400, accounts: 100, seed: 1 }
  const inPlace = async (name: string): Promise<string> => {
    const directory = path.join(path.dirname(cluster.socketDirectory), name)
    mkdirSync(directory)
    await giveToServerUser(directory)
    return directory
  }
  const load = await startLoad({ ...options, directory: await inPlace('load') })
  const stretch = await load.hold(1)
  const transactions = await load.end(stretch.to)
  await load.abandon()
  const [row] = await query<{ count: number }>(cluster, 'select count(*)::int as count from load_history')
  assert.equal(transactions.length, row?.count)
  assert.ok(transactions.some((one) => dueOf(one) > stretch.to))
  assert.ok(figuresOf(transactions, stretch).transactions > 0)

  await query(cluster, 'drop table load_history')
  const failing = await startLoad({ ...options, directory: await inPlace('failing') })
  await assert.rejects(failing.hold(60), /pgbench ended early, with 2: .*"load_history" does not exist/s)
  await failing.abandon()
})
