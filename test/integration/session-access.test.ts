/** How a session finds its server and proves who it is: environment, service file, password file, TLS, as psql does. */
import assert from 'node:assert/strict'
import { appendFileSync, chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { connectToServer } from '#src/postgres/session/connection.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { giveToServerUser, runProgram } from '../support/server-user.js'

describe('access to the server', () => {
  let cluster: Cluster
  let directory: string
  const environment = { ...process.env }
  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'pgsluice-access-'))
    cluster = await startCluster({ major: Math.max(...availableMajors()), tcp: true })
    await query(cluster, `create role guarded login password 'geheim'`)
    // First match wins: the role needs its password everywhere, the others nothing.
    writeFileSync(path.join(cluster.pgdata, 'pg_hba.conf'), 'local all guarded scram-sha-256\nlocal all all trust\n')
    appendFileSync(path.join(cluster.pgdata, 'pg_hba.conf'), 'host all guarded 127.0.0.1/32 scram-sha-256\n')
    await query(cluster, 'select pg_reload_conf()')
    await cluster.waitForLog(/received SIGHUP, reloading/)
  })
  after(async () => {
    await cluster.destroy()
    rmSync(directory, { recursive: true })
  })
  beforeEach(() => {
    for (const name of Object.keys(process.env))
      if (name.startsWith('PG') && !name.startsWith('PGSLUICE')) Reflect.deleteProperty(process.env, name)
  })
  after(() => Object.assign(process.env, environment))

  const whoAmI = async (dbname?: string): Promise<unknown> => {
    const session = await connectToServer({ dbname })
    const [row] = await session.query('select current_user::text as role, current_database()::text as database')
    await session.end()
    return row
  }

  it('is found by PGHOST, PGPORT, PGUSER and PGDATABASE', async () => {
    Object.assign(process.env, cluster.env, { PGDATABASE: 'template1' })
    assert.deepEqual(await whoAmI(), { role: 'postgres', database: 'template1' })
  })

  it('is found by a service', async () => {
    const file = path.join(directory, 'services')
    writeFileSync(
      file,
      `[backup]\nhost=${cluster.socketDirectory}\nport=${cluster.port}\nuser=postgres\ndbname=template1\n`,
    )
    Object.assign(process.env, { PGSERVICEFILE: file, PGSERVICE: 'backup' })
    assert.deepEqual(await whoAmI(), { role: 'postgres', database: 'template1' })
    assert.deepEqual(await whoAmI('service=backup dbname=postgres'), { role: 'postgres', database: 'postgres' })
    await assert.rejects(connectToServer({ dbname: 'service=absent' }), /there is no service "absent" in ".*services"/)
  })

  it('is let in by PGPASSWORD, by the connection string and by the password file, over TCP as over the socket', async () => {
    const expected = { role: 'guarded', database: 'postgres' }
    for (const host of [cluster.socketDirectory, '127.0.0.1']) {
      const dbname = `host=${host} port=${cluster.port} user=guarded dbname=postgres`
      assert.deepEqual(await whoAmI(`${dbname} password=geheim`), expected)
      process.env['PGPASSWORD'] = 'geheim'
      assert.deepEqual(await whoAmI(dbname), expected)
      process.env['PGPASSWORD'] = 'wrong'
      await assert.rejects(connectToServer({ dbname }), /password authentication failed for user "guarded"/)
      delete process.env['PGPASSWORD']
      const file = path.join(directory, 'pgpass')
      writeFileSync(file, `*:${cluster.port}:postgres:guarded:geheim\n`, { mode: 0o600 })
      process.env['PGPASSFILE'] = file
      assert.deepEqual(await whoAmI(dbname), expected)
      writeFileSync(file, '')
      await assert.rejects(connectToServer({ dbname }), /asks for a password and none is known/)
      chmodSync(file, 0o640)
      await assert.rejects(connectToServer({ dbname }), /password file ".*pgpass" has group or world access/)
      rmSync(file)
      delete process.env['PGPASSFILE']
    }
  })

  it('speaks TLS as sslmode asks', async (t) => {
    const [certificate, key] = [path.join(directory, 'server.crt'), path.join(directory, 'server.key')]
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...subject]
    const made = await runProgram('openssl', [...request, '-out', certificate, '-keyout', key]).catch(() => undefined)
    if (made?.exitCode !== 0) {
      t.skip('there is no openssl to make a certificate with')
      return
    }
    chmodSync(directory, 0o755)
    chmodSync(key, 0o600)
    await giveToServerUser(key)
    const at = `port=${cluster.port} user=guarded dbname=postgres password=geheim`
    const encrypted = async (settings: string): Promise<unknown> => {
      const session = await connectToServer({ dbname: `${at} ${settings}` })
      const sql = 'select ssl::text as value from pg_stat_ssl where pid = pg_backend_pid()'
      const [row] = await session.query<{ value: string }>(sql)
      await session.end()
      return row?.value
    }
    assert.equal(await encrypted('host=127.0.0.1'), 'false', 'prefer falls back where the server has no TLS')
    await assert.rejects(encrypted('host=127.0.0.1 sslmode=require'), /does not support SSL/)
    await query(cluster, 'alter system set ssl = on')
    await query(cluster, `alter system set ssl_cert_file = '${certificate}'`)
    await query(cluster, `alter system set ssl_key_file = '${key}'`)
    const offset = cluster.logText().length
    await query(cluster, 'select pg_reload_conf()')
    await cluster.waitForLog(/parameter "ssl" changed to "on"/, offset)
    for (const [settings, expected] of [
      ['host=127.0.0.1', 'true'],
      ['host=127.0.0.1 sslmode=disable', 'false'],
      ['host=127.0.0.1 sslmode=allow', 'false'],
      ['host=127.0.0.1 sslmode=require', 'true'],
      [`host=127.0.0.1 sslmode=verify-ca sslrootcert=${certificate}`, 'true'],
      [`host=localhost sslmode=verify-full sslrootcert=${certificate}`, 'true'],
      [`host=${cluster.socketDirectory} sslmode=require`, 'false'],
    ] as const) {
      assert.equal(await encrypted(settings), expected, settings)
    }
    const refused = /certificate|IP: 127\.0\.0\.1 is not in the cert/
    await assert.rejects(encrypted(`host=127.0.0.1 sslmode=verify-full sslrootcert=${certificate}`), refused)
    await assert.rejects(encrypted('host=localhost sslmode=verify-full sslrootcert=system'), refused)
    await assert.rejects(encrypted('host=localhost sslmode=verify-full'), /needs a root certificate/)
  })
})
