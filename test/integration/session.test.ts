/** What a session of a base backup does on real servers of every major: P3–P6, S1–S11, E1–E3. */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { ToolError } from '#src/errors.js'
import { formatLsn } from '#src/postgres/lsn.js'
import { probe, startBackup, stopBackup } from '#src/postgres/session/backup-session.js'
import {
  archiverStatus,
  createRestorePoint,
  currentWalSegment,
  databaseClock,
  listConfigFiles,
  listDatabases,
  listTablespaces,
  readServer,
  switchWal,
} from '#src/postgres/session/cluster.js'
import { connectToServer, type Session } from '#src/postgres/session/connection.js'
import { segmentName, segmentNumberAt } from '#src/postgres/wal-segment.js'
import { availableMajors, postgresBinaries } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MINUTE = 60_000

for (const major of availableMajors()) {
  describe(`session on PostgreSQL ${major}`, () => {
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

    it('reads what a backup must know about the server', async () => {
      const session = await connect()
      const server = await readServer(session)
      const [expected] = await query<{ id: string }>(
        cluster,
        'select system_identifier::text as id from pg_control_system()',
      )
      assert.equal(server.systemIdentifier, BigInt(expected?.id ?? 0))
      assert.deepEqual(
        { ...server, systemIdentifier: undefined, catalogVersion: undefined },
        {
          versionNum: session.versionNum,
          major,
          version: postgresBinaries(major).version,
          systemIdentifier: undefined,
          catalogVersion: undefined,
          walSegmentSize: 16 * 2 ** 20,
          blockSize: 8192,
          blocksPerSegment: 131_072,
          dataChecksums: true,
          inRecovery: false,
          timeline: 1,
          clusterName: '',
          port: 5432,
          dataDirectory: cluster.pgdata,
          configFiles: {
            config: path.join(cluster.pgdata, 'postgresql.conf'),
            hba: path.join(cluster.pgdata, 'pg_hba.conf'),
            ident: path.join(cluster.pgdata, 'pg_ident.conf'),
          },
          walLevel: 'replica',
          archiveMode: 'on',
          archiveCommand: 'true',
          archiveLibrary: major >= 15 ? '' : undefined,
          archiveTimeoutSeconds: 0,
          fullPageWrites: true,
          statsTempDirectory: major < 15 ? 'pg_stat_tmp' : undefined,
          checkpointTimeoutSeconds: 300,
          maxConnections: 100,
          summarizeWal: false,
        },
      )
      assert.ok(Math.abs((await databaseClock(session)).getTime() - Date.now()) < MINUTE)
      assert.ok([...(await listDatabases(session)).values()].includes('template0'))
      const at = (name: string): string => path.join(cluster.pgdata, name)
      assert.deepEqual(await listConfigFiles(session), [
        { path: at('postgresql.conf'), setting: 'config_file' },
        { path: at('pg_hba.conf'), setting: 'hba_file' },
        { path: at('pg_ident.conf'), setting: 'ident_file' },
      ])
      await session.end()
    })

    it('starts and stops a backup whose label names the start segment, byte for byte', async () => {
      const location = path.join(path.dirname(cluster.pgdata), 'a tablespace')
      mkdirSync(location)
      await giveToServerUser(location)
      await query(cluster, `create tablespace extra location '${location}'`)
      const session = await connect()
      const [tablespace] = await listTablespaces(session)
      assert.deepEqual([tablespace?.name, tablespace?.location], ['extra', location])

      const started = await startBackup(session, { label: 'nightly – größe', checkpoint: 'fast' })
      assert.deepEqual([started.timeline, started.inRecovery], [1, false])
      assert.deepEqual(await probe(session), { inRecovery: false })
      const stopped = await stopBackup(session)
      const segment = segmentName(1, segmentNumberAt(started.startLsn, 2 ** 24), 2 ** 24)
      const [first, ...rest] = stopped.labelFile.toString('utf8').split('\n')
      assert.equal(first, `START WAL LOCATION: ${formatLsn(started.startLsn)} (file ${segment})`)
      assert.ok(rest.includes('LABEL: nightly – größe'))
      assert.ok(stopped.labelFile.toString('latin1').endsWith('START TIMELINE: 1\n'))
      assert.equal(stopped.tablespaceMap?.toString(), `${tablespace?.oid} ${location}\n`)
      assert.ok(stopped.stopLsn > started.startLsn)
      assert.ok(stopped.stopTime >= started.startTime)
      await session.end()
      await query(cluster, 'drop tablespace extra')
    })

    it('returns the bytes of the label in the encoding of the database', async () => {
      await query(cluster, `create database latin encoding 'LATIN1' template template0`)
      const session = await connectToServer({ dbname: `host=${cluster.socketDirectory} user=postgres dbname=latin` })
      await startBackup(session, { label: 'größe', checkpoint: 'fast' })
      const { labelFile, tablespaceMap } = await stopBackup(session)
      assert.ok(labelFile.includes(Buffer.from('LABEL: größe\n', 'latin1')))
      assert.equal(tablespaceMap, undefined)
      await session.end()
    })

    it('is not ended by time limits that the role was given', async () => {
      await query(cluster, 'create role hurried superuser login')
      const first = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']
      // these hold until the session has asked for the version: longer than that takes on a busy machine
      const later = [...(major >= 14 ? ['idle_session_timeout'] : []), ...(major >= 17 ? ['transaction_timeout'] : [])]
      const limits = [...first, ...later]
      for (const limit of first) await query(cluster, `alter role hurried set ${limit} = '150ms'`)
      for (const limit of later) await query(cluster, `alter role hurried set ${limit} = '2s'`)
      await query(cluster, 'alter role hurried set search_path = public, pg_catalog')
      await query(cluster, `create function public.pg_is_in_recovery() returns bool language sql as 'select true'`)
      const session = await connect('hurried')
      for (const limit of limits) {
        assert.deepEqual(await session.query('select current_setting($1) as value', [limit]), [{ value: '0' }])
      }
      const long = later.length === 0 ? 0.4 : 2.5
      await session.query(`select pg_sleep(${major >= 17 ? long : 0.4})`)
      // Idle for longer than the role may: another session measures the time.
      await query(cluster, `select pg_sleep(${long})`)
      const { inRecovery } = await startBackup(session, { label: 'x', checkpoint: 'fast' })
      assert.equal(inRecovery, false)
      await stopBackup(session)
      await session.end()
      await query(cluster, 'drop function public.pg_is_in_recovery()')
    })

    it('names the GRANTs that a role is missing, and needs no more than these', async () => {
      const session = await connect('minimal')
      const server = await readServer(session)
      assert.deepEqual([server.dataDirectory, server.configFiles], [undefined, undefined])
      assert.equal(server.archiveCommand, 'true')
      const functions = [
        () => startBackup(session, { label: 'x', checkpoint: 'fast' }),
        () => stopBackup(session),
        () => switchWal(session),
        () => createRestorePoint(session, 'x'),
      ]
      for (const call of functions) {
        const error = await call().then(
          () => assert.fail('no GRANT was missing'),
          (thrown: unknown) => thrown,
        )
        assert.ok(error instanceof ToolError && error.code === 'database')
        assert.match(error.message, /^permission denied for function pg_/)
        const grant = /GRANT .*;$/.exec(error.hint ?? '')?.[0]
        assert.ok(grant !== undefined, error.hint)
        await query(cluster, grant)
        await call()
      }
      await query(cluster, 'grant pg_read_all_settings to minimal')
      assert.equal((await readServer(session)).dataDirectory, cluster.pgdata)
      await archiverStatus(session)
      await session.end()
    })

    it('switches the WAL segment of an idle server each time', async () => {
      const session = await connect()
      const segments = [await switchWal(session), await switchWal(session), await currentWalSegment(session)]
      assert.equal(new Set(segments).size, 3)
      assert.deepEqual(segments, [...segments].sort())
      await waitUntil('the archiver to report the segment', async () => {
        const { lastArchivedSegment } = await archiverStatus(session)
        return lastArchivedSegment !== undefined && lastArchivedSegment >= (segments[1] ?? '')
      })
      await session.end()
    })

    it('runs two backups at once', async () => {
      const sessions = await Promise.all([connect(), connect()])
      const started = await Promise.all(sessions.map((s, i) => startBackup(s, { label: `b${i}`, checkpoint: 'fast' })))
      const stopped = await Promise.all(sessions.map((session) => stopBackup(session)))
      for (const [index, { labelFile }] of stopped.entries()) {
        assert.ok(labelFile.includes(`LABEL: b${index}\n`))
        assert.ok(labelFile.includes(`START WAL LOCATION: ${formatLsn(started[index]?.startLsn ?? 0n)} (`))
      }
      await Promise.all(sessions.map((session) => session.end()))
      await waitUntil('the sessions to end', async () => (await sessionsLeft()) === 0)
    })
  })
}
