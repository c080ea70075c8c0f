/** What a session of a base backup does when something goes wrong, on every major: P1, P2, S4, S7, S8. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { cpSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { ToolError } from '#src/errors.js'
import { startBackup, startProbing, stopBackup } from '#src/postgres/session/backup-session.js'
import { connectToServer, type Session } from '#src/postgres/session/connection.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, withClient, type Cluster } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const MINUTE = 60_000

for (const major of availableMajors()) {
  describe(`failing session on PostgreSQL ${major}`, () => {
    let cluster: Cluster
    before(async () => {
      cluster = await startCluster({
        major,
        ownInitdb: true,
        settings: { archive_mode: 'on', archive_command: 'true' },
      })
      await query(cluster, 'create role minimal login')
    })
    after(() => cluster.destroy())

    const connect = (user = 'postgres', signal?: AbortSignal): Promise<Session> =>
      connectToServer({ dbname: `host=${cluster.socketDirectory} user=${user} dbname=postgres`, signal })
    const sessionsLeft = async (): Promise<number> =>
      (await query(cluster, `select from pg_stat_activity where application_name = 'pgsluice'`)).length

    it('knows at once when its backend is terminated in mid-backup', async () => {
      const session = await connect()
      await startBackup(session, { label: 'x', checkpoint: 'fast' })
      const reasons: ToolError[] = []
      // The interval is long: it is the end of the connection that is noticed, not a probe that fails.
      const stopProbing = startProbing(session, { intervalMs: MINUTE, onLost: (reason) => reasons.push(reason) })
      await query(cluster, 'select pg_terminate_backend($1)', [session.backendPid])
      if (!session.lost.aborted) await once(session.lost, 'abort')
      assert.match(reasons[0]?.message ?? '', /the connection to PostgreSQL was lost .*administrator command/)
      await assert.rejects(stopBackup(session), (error) => error === session.lost.reason)
      assert.equal(reasons.length, 1)
      stopProbing()
      await session.end()
    })

    it('takes a server that does not answer a probe for lost', async () => {
      const session = await connect()
      process.kill(session.backendPid, 'SIGSTOP')
      try {
        const lost = new Promise<ToolError>((resolve) =>
          startProbing(session, { intervalMs: 20, timeoutMs: 200, onLost: resolve }),
        )
        assert.match((await lost).message, /no answer to a probe within 200 ms/)
        await session.end()
      } finally {
        process.kill(session.backendPid, 'SIGCONT')
      }
      await waitUntil('the session to end', async () => (await sessionsLeft()) === 0)
    })

    it('cancels a slow start when it is aborted and leaves no backup behind', async () => {
      await query(cluster, 'create table filler as select n, repeat($$x$$, 500) from generate_series(1, 30000) n')
      const abort = new AbortController()
      const session = await connect('postgres', abort.signal)
      const started = startBackup(session, { label: 'x', checkpoint: 'spread' })
      const outcome = assert.rejects(started, (error) => error === abort.signal.reason)
      await waitUntil('the start to wait for its checkpoint', async () => {
        const sql = 'select from pg_stat_activity where pid = $1 and wait_event like $$Checkpoint%$$'
        return (await query(cluster, sql, [session.backendPid])).length === 1
      })
      const began = Date.now()
      abort.abort(new Error('the user had enough'))
      await outcome
      await waitUntil('the session to end', async () => (await sessionsLeft()) === 0)
      // well before a spread checkpoint would end
      assert.ok(Date.now() - began < 60_000)
      assert.equal(session.lost.aborted, false)
      await assert.rejects(session.query('select 1'), (error) => error === abort.signal.reason)
    })

    it('explains why it cannot connect', async () => {
      await query(cluster, `create role limited login connection limit 0`)
      await query(cluster, 'create role stranger nologin')
      const at = `host=${cluster.socketDirectory}`
      const cases = [
        [`${at} user=postgres dbname=absent`, /database "absent" does not exist/, /Name a database that exists/],
        [`${at} user=nobody_at_all dbname=postgres`, /role "nobody_at_all" does not exist/, /pg_hba.conf/],
        [`${at} user=stranger dbname=postgres`, /not permitted to log in/, /has LOGIN/],
        [`${at} user=limited dbname=postgres`, /too many connections/, /max_connections/],
        [
          `host=/nowhere user=postgres password=geheim`,
          /socket "\/nowhere\/.s.PGSQL.5432"/,
          /No server has its socket/,
        ],
        ['postgresql://u:geheim@127.0.0.1:1/d', /host "127.0.0.1", port 1, user "u"/, /No server listens there/],
      ] as const
      for (const [dbname, message, hint] of cases) {
        await assert.rejects(connectToServer({ dbname }), (error) => {
          assert.ok(error instanceof ToolError && error.code === 'database', String(error))
          assert.match(error.message, message)
          assert.match(error.hint ?? '', hint)
          assert.doesNotMatch(error.message, /geheim|\n/)
          return true
        })
      }
    })

    it('gives up connecting to a server that says nothing', async () => {
      process.kill(cluster.pid ?? 0, 'SIGSTOP')
      try {
        const dbname = `host=${cluster.socketDirectory} user=postgres`
        await assert.rejects(connectToServer({ dbname, connectTimeoutMs: 100 }), /timeout expired/)
        const reason = new Error('enough')
        await assert.rejects(connectToServer({ dbname, signal: AbortSignal.abort(reason) }), reason)
        const abort = new AbortController()
        const pending = connectToServer({ dbname, signal: abort.signal })
        abort.abort(reason)
        await assert.rejects(pending, reason)
      } finally {
        process.kill(cluster.pid ?? 0, 'SIGCONT')
      }
    })

    it('loses the backup on a standby that is promoted', async () => {
      await using source = await startCluster({ major })
      await source.stop()
      const directory = `${source.pgdata}-standby`
      cpSync(source.pgdata, directory, { recursive: true, preserveTimestamps: true })
      writeFileSync(path.join(directory, 'standby.signal'), '')
      await using standby = await startCluster({ major, directory })
      const session = await connectToServer({ dbname: standby.connectionString })
      const { inRecovery } = await startBackup(session, { label: 'x', checkpoint: 'fast' })
      assert.equal(inRecovery, true)
      const lost = new Promise<ToolError>((resolve) =>
        startProbing(session, { intervalMs: 20, inRecovery, onLost: resolve }),
      )
      await query(standby, 'select pg_promote()')
      assert.match((await lost).message, /the standby was promoted during the backup/)
      await assert.rejects(stopBackup(session), /the standby was promoted during online backup/)
      await session.end()
    })

    it('knows when the server crashes in mid-backup', async () => {
      const session = await connect()
      await startBackup(session, { label: 'x', checkpoint: 'fast' })
      const sleeping = assert.rejects(session.query('select pg_sleep(60)'), (error) => error === session.lost.reason)
      await cluster.crash()
      await sleeping
      assert.match(String(session.lost.reason), /the connection to PostgreSQL was lost/)
      await session.end()
      await cluster.start()
      await withClient(cluster, (client) => client.query('select 1'))
    })
  })
}
