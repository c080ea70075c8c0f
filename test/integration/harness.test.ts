/** The harness proves itself: what the other tests trust must work on every major. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, it } from 'node:test'
import { checkIntegrity } from '../support/integrity.js'
import { startLedger, verifyLedger } from '../support/ledger.js'
import { requireOracles } from '../support/oracles.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster } from '../support/postgres.js'
import { isRunning } from '../support/processes.js'
import { runAsServerUser, serverUser } from '../support/server-user.js'

for (const major of availableMajors()) {
  describe(`harness on PostgreSQL ${major}`, () => {
    it('keeps every acknowledged commit through a crash', async () => {
      await using cluster = await startCluster({ major })
      const ledger = await startLedger(cluster, { clients: 4 })
      await ledger.advance(200)
      await cluster.crash()
      const acknowledged = await ledger.stop()
      await cluster.start()
      await cluster.waitForLog(/database system was not properly shut down/)
      const { entries, extra } = await verifyLedger(cluster, acknowledged)
      assert.ok(entries >= 200)
      assert.ok(extra <= 4)
      const { heaps, indexes } = await checkIntegrity(cluster)
      assert.ok(heaps > 50 && indexes > 100)
    })

    it('notices a lost commit, a changed entry and a broken balance', async () => {
      await using cluster = await startCluster({ major })
      const ledger = await startLedger(cluster, { clients: 2 })
      await ledger.advance(20)
      const acknowledged = await ledger.stop()
      const sabotage = [
        ['delete from ledger_entry where (client, sequence) = ($1, 2)', /missing between others/],
        ['delete from ledger_entry where client = $1 and sequence >= 3', /balance of account|acknowledged up to entry/],
        ['update ledger_entry set amount = amount + 1 where (client, sequence) = ($1, 1)', /signature of entry/],
        ['update ledger_account set balance = balance + length($1)', /balance of account/],
      ] as const
      for (const [sql, expected] of sabotage) {
        await query(cluster, 'create table if not exists saved_entry as table ledger_entry')
        await query(cluster, 'create table if not exists saved_account as table ledger_account')
        await query(cluster, sql, [acknowledged[0]?.client])
        await assert.rejects(verifyLedger(cluster, acknowledged), expected)
        await query(cluster, 'truncate ledger_entry, ledger_account')
        await query(cluster, 'insert into ledger_entry table saved_entry')
        await query(cluster, 'insert into ledger_account table saved_account')
      }
      await verifyLedger(cluster, acknowledged)
    })

    it('is judged sound by the programs of PostgreSQL', async (t) => {
      const oracles = requireOracles(t, major)
      if (oracles === undefined) return
      await using cluster = await startCluster({ major })
      const bench = await oracles.run('pgbench', ['-i', '-q', '-s', '1'], { env: cluster.env })
      assert.equal(bench.exitCode, 0, bench.stderr)
      const answer = await oracles.run('psql', ['-XAtc', 'select count(*) from pgbench_accounts'], { env: cluster.env })
      assert.equal(answer.stdout.trim(), '100000')
      await cluster.stop()
      const checksums = await oracles.run('pg_checksums', ['--check', '-D', cluster.pgdata], { asServerUser: true })
      assert.equal(checksums.exitCode, 0, checksums.stderr)
      assert.match(checksums.stdout, /Bad checksums: +0/)
    })

    it('ends every process and removes every file of a cluster', async () => {
      const cluster = await startCluster({ major, tcp: true, walSegmentSizeMb: 1, initdbArgs: ['--no-data-checksums'] })
      const [row] = await query<{ size: string; checksums: string; port: number }>(
        cluster,
        `select current_setting('wal_segment_size') as size, current_setting('data_checksums') as checksums,
           current_setting('port')::int as port`,
      )
      assert.deepEqual(row, { size: '1MB', checksums: 'off', port: cluster.port })
      const { pid = 0, pgdata } = cluster
      assert.ok(isRunning(pid))
      await cluster.kill()
      assert.ok(!isRunning(pid))
      await cluster.start()
      await cluster.destroy()
      assert.ok(!existsSync(pgdata))
    })
  })
}

it('runs servers as an unprivileged user when the tests run as root', async () => {
  const { stdout } = await runAsServerUser('id', ['-u'])
  assert.equal(Number(stdout), serverUser()?.uid ?? process.getuid?.())
  assert.notEqual(Number(stdout), 0)
})
