/**
 * The promise of the whole project, for every major: a server that is lost with its disk comes back from the bucket with
 * every commit that a client was told of. What says so is a ledger and PostgreSQL's own tools, none of it our code.
 */
import assert from 'node:assert/strict'
import { lstatSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { readControlFile } from '#src/postgres/control-file.js'
import { checkIntegrity } from '../support/integrity.js'
import { startLedger, verifyLedger, type Acknowledged } from '../support/ledger.js'
import { findOracles, requireOracles } from '../support/oracles.js'
import {
  archiveWal,
  loseDirectory,
  openDirectoryRepository,
  openEndpointRepository,
  openRealRepository,
  openWorkplace,
  realEndpoints,
  startArchivingCluster,
  startPgsluice,
  startRestored,
  succeed,
  type Repository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { openClient, query, withClient, type Cluster } from '../support/postgres.js'
import { serverUser } from '../support/server-user.js'

/** Where each major backs up to, and whether as the user of the server rather than as the user of the tests. */
interface Setting {
  where: string
  open: () => Promise<Repository>
  asServerUser: boolean
}

function settingOf(major: number): Setting {
  const [real] = realEndpoints()
  const asServerUser = major % 2 === 0
  // A directory is written by the server's archive_command, too: its files are to be that user's.
  if (major === 14 || major === 18) {
    return { where: 'a directory', open: openDirectoryRepository, asServerUser }
  }
  if (real !== undefined && (major === 15 || major === 16)) {
    return { where: 'a real S3 server', open: () => openRealRepository(real), asServerUser }
  }
  return { where: 'an S3 endpoint', open: openEndpointRepository, asServerUser }
}

/** What a restored cluster has to hold besides the ledger. */
interface Contents {
  digest: string
  largeObject: string
}

/** Tables of many kinds, with rows that can be told from others. */
async function fill(cluster: Cluster): Promise<Contents> {
  await withClient(cluster, async (client) => {
    await client.query(`
      create table kinds (id int primary key, word text, tags int[], big text);
      alter table kinds alter big set storage external;
      insert into kinds select i, md5(i::text), array[i, i % 7], case when i % 500 = 0 then repeat(md5(i::text), 2000) end
        from generate_series(1, 20000) i;
      create index on kinds (word);
      create index on kinds using hash (word);
      create index on kinds using gin (tags);
      create index on kinds using brin (id);
      create unlogged table forgotten (id int primary key, word text);
      insert into forgotten select i, md5(i::text) from generate_series(1, 5000) i;
      create materialized view counted as select tags[2] as tag, count(*) as n from kinds group by 1;
    `)
    await client.query('vacuum analyze kinds')
    await client.query('create database second')
  })
  await query(cluster, `select lo_from_bytea(4711, convert_to(repeat('large object ', 100000), 'UTF8'))`)
  await query(cluster, 'create table elsewhere as select i from generate_series(1, 1000) i', [], 'second')
  return contentsOf(cluster)
}

async function contentsOf(cluster: Cluster): Promise<Contents> {
  const [kinds] = await query<{ digest: string }>(
    cluster,
    'select md5(string_agg(k::text, chr(10) order by id)) as digest from kinds k',
  )
  const [object] = await query<{ md5: string }>(cluster, 'select md5(lo_get(4711)) as md5')
  const [second] = await query<{ sum: string }>(cluster, 'select sum(i)::text as sum from elsewhere', [], 'second')
  assert.equal(second!.sum, '500500')
  return { digest: kinds!.digest, largeObject: object!.md5 }
}

/** A cluster that was backed up while clients wrote, and was then lost: all that is left is the repository. */
async function loseCluster(
  major: number,
  repository: Repository,
  asServerUser: boolean,
): Promise<Contents & { acknowledged: Acknowledged[]; temporary: string }> {
  await using cluster = await startArchivingCluster(repository, { major })
  const contents = await fill(cluster)
  const session = await openClient(cluster)
  await session.query('create temp table passing as select generate_series(1, 100000) as i')
  const temporary = (await session.query<{ path: string }>(`select pg_relation_filepath('passing') as path`)).rows[0]!
  const ledger = await startLedger(cluster, { clients: 4 })
  await ledger.advance(100)
  const backup = await startPgsluice(['backup', '--json', '--label', 'nightly'], repository, { cluster, asServerUser })
  await backup.waitForEvent('backup-started')
  const during = ledger.acknowledged()
  const { exitCode, stderr, stdout } = await backup.ended
  assert.equal(exitCode, 0, `${stdout}${stderr}`)
  assert.ok(ledger.acknowledged() > during, 'clients wrote while the backup ran')
  await ledger.advance(200)
  const acknowledged = [...(await ledger.stop())]
  await session.end()
  await archiveWal(cluster, repository)
  await cluster.crash()
  loseDirectory(cluster)
  return { ...contents, acknowledged, temporary: temporary.path }
}

/** Everything belongs to the user of the servers, and the modes are those that a server starts with (R3, F10). */
function assertOwned(directory: string): void {
  const uid = serverUser()?.uid ?? process.getuid!()
  assert.equal(lstatSync(directory).mode & 0o777, 0o700)
  for (const name of ['.', ...readdirSync(directory, { recursive: true, encoding: 'utf8' })]) {
    const status = lstatSync(path.join(directory, name))
    assert.equal(status.uid, uid, `owner of "${name}"`)
    if (!status.isSymbolicLink()) {
      assert.equal(status.mode & 0o7777, status.isDirectory() ? 0o700 : 0o600, `mode of "${name}"`)
    }
  }
}

describe('a cluster that is lost with its disk', { concurrency: 2 }, () => {
  for (const major of availableMajors()) {
    const { where, open, asServerUser } = settingOf(major)
    const who = asServerUser || serverUser() === undefined ? "the server's user" : 'root'
    it(`PostgreSQL ${major} comes back from ${where} with every acknowledged commit, as ${who}`, async () => {
      await using repository = await open()
      using workplace = await openWorkplace()
      const lost = await loseCluster(major, repository, asServerUser)

      const target = workplace.at('restored')
      await succeed(['restore', 'nightly', '--target-dir', target], repository, { asServerUser })
      assertOwned(target)
      assert.ok(!readdirSync(path.join(target, path.dirname(lost.temporary))).includes(path.basename(lost.temporary)))
      assert.deepEqual(
        readdirSync(path.join(target, 'pg_wal')).filter((name) => /^[0-9A-F]{24}/.test(name)),
        [],
      ) // R9
      const verify = await findOracles(major)?.run('pg_verifybackup', ['-n', target], { asServerUser: true })
      if (verify !== undefined) assert.equal(verify.exitCode, 0, `${verify.stdout}${verify.stderr}`)

      await using restored = await startRestored(major, target, repository)
      const { extra } = await verifyLedger(restored, lost.acknowledged)
      assert.equal(extra, 0, 'nothing was in flight when the clients had stopped')
      assert.deepEqual(await contentsOf(restored), { digest: lost.digest, largeObject: lost.largeObject })
      assert.deepEqual(await query(restored, 'select * from forgotten'), [], 'an unlogged table is empty (W3)')
      const [archiving] = await query<{ mode: string }>(restored, `select current_setting('archive_mode') as mode`)
      assert.equal(archiving!.mode, 'off', 'a restored server archives nothing (A12)')
      const { databases, heaps, indexes } = await checkIntegrity(restored)
      assert.ok(databases >= 3 && heaps > 150 && indexes > 300)
      await query(restored, 'checkpoint')
      assert.equal((await readControlFile(target)).control.checkpointTimeline, 2)
    })
  }

  it('pg_verifybackup of every major that has one is here to judge', (t) => {
    for (const major of availableMajors().filter((each) => each >= 14)) requireOracles(t, major)
  })
})
