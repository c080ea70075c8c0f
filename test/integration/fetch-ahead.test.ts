/**
 * Fetching ahead (G7): while a server recovers, a process of its own keeps the next segments ready, and most calls of
 * restore_command are answered without Node.js. Nothing that it does can end recovery.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { FRONT } from '../support/command-line.js'
import { startLedger, verifyLedger, type Acknowledged } from '../support/ledger.js'
import {
  archiveWal,
  openEndpointRepository,
  openWorkplace,
  startArchivingCluster,
  startRestored,
  succeed,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MAJOR = availableMajors().at(-1)!
const SEGMENTS = 40

describe('a server that recovers with segments fetched ahead', () => {
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let repository: EndpointRepository
  let acknowledged: Acknowledged[]
  /** As restored; each test recovers a copy. */
  let restored: string
  let copies = 0

  before(async () => {
    workplace = await openWorkplace()
    repository = await openEndpointRepository()
    await using cluster = await startArchivingCluster(repository, { major: MAJOR, walSegmentSizeMb: 1 })
    await succeed(['backup'], repository, { cluster })
    const ledger = await startLedger(cluster, { clients: 2 })
    await ledger.advance(20)
    for (let n = 0; n < SEGMENTS; n++) {
      await query(cluster, `create table t${n} as select md5(i::text) from generate_series(1, 300) i`)
      await query(cluster, 'select pg_switch_wal()')
    }
    acknowledged = await ledger.stop()
    await archiveWal(cluster, repository)
    restored = workplace.at('restored')
    await succeed(['restore', '--target-dir', restored], repository)
    // what the source has noted and fetched is its own (A10)
    assert.ok(readdirSync(path.join(cluster.pgdata, 'pg_wal')).includes('pgsluice'))
    assert.ok(!readdirSync(path.join(restored, 'pg_wal')).includes('pgsluice'))
  })
  after(async () => {
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  async function copy(): Promise<string> {
    const directory = workplace.at(`copy-${++copies}`)
    assert.equal((await runAsServerUser('cp', ['-Rp', restored, directory])).exitCode, 0)
    return directory
  }

  const segments = async (): Promise<string[]> =>
    (await repository.keys()).filter((key) => /\/[0-9A-F]{24}\.zst$/.test(key)).sort()
  const spool = (directory: string): string => path.join(directory, 'pg_wal/pgsluice/fetched')
  /** Times that Node.js was started by the server: each reads the identity of the cluster, as does what fetches ahead. */
  const runs = (): number =>
    repository.endpoint.requests.filter(({ method, key }) => method === 'GET' && key.endsWith('cluster.json')).length

  async function assertRecovered(cluster: Cluster): Promise<void> {
    await verifyLedger(cluster, acknowledged)
    await query(cluster, `select * from t${SEGMENTS - 1}`)
    await waitUntil('what fetches ahead to end', () => !existsSync(spool(cluster.pgdata)))
  }

  it('asks Node.js for few of them, and leaves nothing behind', async () => {
    repository.endpoint.requests.length = 0
    await using cluster = await startRestored(MAJOR, await copy(), repository)
    const recovered = (await segments()).length
    assert.ok(recovered >= SEGMENTS)
    assert.ok(runs() < recovered / 2, `${runs()} runs of Node.js for ${recovered} segments`)
    await assertRecovered(cluster)
    assert.deepEqual(readdirSync(path.join(cluster.pgdata, 'pg_wal/pgsluice')), [])
  })

  it('does without where that is asked for', async () => {
    const directory = await copy()
    const restoredSoFar = (cluster: Cluster): number => cluster.logText().match(/restored log file/g)?.length ?? 0
    {
      const env = { ...repository.env, PGSLUICE_FETCH_AHEAD: '0' }
      await using cluster = await startCluster({ major: MAJOR, directory, env, start: false })
      await cluster.start({ wait: 'none' })
      // Each of them is a start of Node.js, so a few are enough; the rest of the way is gone as usual.
      await waitUntil('some segments', () => restoredSoFar(cluster) >= 6)
      assert.doesNotMatch(cluster.logText(), /archive recovery complete/)
      assert.ok(!existsSync(path.join(directory, 'pg_wal/pgsluice')))
    }
    await using cluster = await startRestored(MAJOR, directory, repository)
    await assertRecovered(cluster)
  })

  it('recovers everything when what fetches ahead is killed again and again', async () => {
    const directory = await copy()
    await using cluster = await startCluster({ major: MAJOR, directory, env: repository.env, start: false })
    let killed = 0
    await cluster.start({ wait: 'none' })
    await waitUntil('the end of recovery', () => {
      const pid = Number(placeOf(directory)?.split('\n')[1])
      if (killed < 5 && pid > 0 && kill(pid)) killed++
      return /archive recovery complete/.test(cluster.logText())
    })
    assert.ok(killed > 1)
    await waitUntil('connections', () =>
      query(cluster, 'select').then(
        () => true,
        () => false,
      ),
    )
    await verifyLedger(cluster, acknowledged)
  })

  it('takes nothing from the spool of an earlier run of the server, which a crash may have spoilt', async () => {
    const directory = await copy()
    const needed = (await segments()).map((key) => path.basename(key, '.zst'))
    const place = `${directory} ${path.dirname(FRONT)} as it was 4711 1700000000`
    mkdirSync(spool(directory), { recursive: true })
    writeFileSync(path.join(spool(directory), 'place'), `${place}\n4711\n`)
    for (const name of needed) writeFileSync(path.join(spool(directory), name), Buffer.alloc(1024 * 1024))
    await giveToServerUser(path.join(directory, 'pg_wal/pgsluice'))
    await using cluster = await startRestored(MAJOR, directory, repository)
    await assertRecovered(cluster)
  })

  it('waits at a hole that an upload out of order has left, and goes on when it is filled (G2)', async () => {
    const hole = (await segments())[20]!
    const bytes = await repository.get(hole)
    repository.delete(hole)
    try {
      const directory = await copy()
      const env = { ...repository.env, PGSLUICE_RETRY_TIME: '60s' }
      await using cluster = await startCluster({ major: MAJOR, directory, env, start: false })
      await cluster.start({ wait: 'none' })
      await cluster.waitForLog(/is missing from the archive, and ".*" is there.*; trying again/)
      assert.doesNotMatch(cluster.logText(), /archive recovery complete|selected new timeline/)
      await repository.set(hole, bytes)
      await cluster.waitForLog(/archive recovery complete/)
      await waitUntil('connections', () =>
        query(cluster, 'select').then(
          () => true,
          () => false,
        ),
      )
      await assertRecovered(cluster)
    } finally {
      await repository.set(hole, bytes)
    }
  })

  it('does not deliver a segment that is damaged in the archive, and stops there (G3)', async () => {
    const key = (await segments())[20]!
    const bytes = await repository.get(key)
    await repository.set(key, Buffer.from(bytes).fill(0, bytes.length >> 1))
    try {
      const directory = await copy()
      const env = { ...repository.env, PGSLUICE_RETRY_TIME: '1s' }
      await using cluster = await startCluster({ major: MAJOR, directory, env, start: false })
      await cluster.start({ wait: 'none' })
      await cluster.waitForEnd()
      assert.match(cluster.logText(), /could not decompress|is damaged/)
      assert.doesNotMatch(cluster.logText(), /archive recovery complete|selected new timeline/)
      await waitUntil('what fetches ahead to end', () => !existsSync(spool(directory)))
    } finally {
      await repository.set(key, bytes)
    }
  })

  it('keeps no more ready than it is told, each of them whole', async () => {
    const directory = await copy()
    const env = { ...repository.env, PGSLUICE_FETCH_AHEAD: '3' }
    // a server that waits at the end of its backup takes nothing
    await using cluster = await startCluster({ major: MAJOR, directory, env, start: false })
    writeFileSync(path.join(directory, 'postgresql.auto.conf'), pausing(directory))
    await cluster.start({ wait: 'running' })
    const whole = (): string[] => readdirSync(spool(directory)).filter((name) => /^[0-9A-F]{24}$/.test(name))
    await waitUntil('three segments to be ready', () => existsSync(spool(directory)) && whole().length === 3)
    for (const name of whole()) assert.equal(statSync(path.join(spool(directory), name)).size, 1024 * 1024)
    assert.equal(statSync(spool(directory)).mode & 0o777, 0o700)
    await cluster.stop()
    await waitUntil('what fetches ahead to end with its server', () => !existsSync(spool(directory)))
  })
})

/** Whether it was there to be killed. */
function kill(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL')
    return true
  } catch {
    return false
  }
}

function placeOf(directory: string): string | undefined {
  try {
    return readFileSync(path.join(directory, 'pg_wal/pgsluice/fetched/place'), 'utf8')
  } catch {
    return undefined
  }
}

/** The settings of a restored server, and a pause as soon as it is consistent. */
function pausing(directory: string): string {
  const settings = readFileSync(path.join(directory, 'postgresql.auto.conf'), 'utf8')
  return `${settings}recovery_target = 'immediate'\nrecovery_target_action = 'pause'\nhot_standby = 'on'\n`
}
