/**
 * README.txt of the repository, followed by hand: what it says must bring a cluster back with the AWS command line, zstd
 * and tar, and none of our code. The scripts that run here are cut out of the object in the bucket.
 */
import assert from 'node:assert/strict'
import { accessSync, appendFileSync, constants, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { README_TEXT } from '#src/repository/readme.js'
import { environmentOfCommands } from '../support/command-line.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { startLedger, verifyLedger, type Acknowledged } from '../support/ledger.js'
import { ROOT, type Skippable } from '../support/oracles.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { S3Endpoint, useTestCredentials } from '../support/s3-endpoint.js'
import { giveToServerUser, runAsServerUser, runProgram, type ProgramResult } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const BUCKET = 'rescue'
const PREFIX = 'some/prefix'
const MAIN = path.join(ROOT, 'dist', 'main.js')

/** The directory of an `aws` that the servers' user can run, or undefined where it is not installed. */
async function findAws(): Promise<string | undefined> {
  const places = [path.join(ROOT, '.cache', 'awscli', 'bin'), ...(process.env['PATH'] ?? '').split(path.delimiter)]
  for (const place of places) {
    const program = path.join(place, 'aws')
    try {
      accessSync(program, constants.X_OK)
      if ((await runAsServerUser(program, ['--version'])).exitCode === 0) return place
    } catch {
      // Not there, or not for that user: the next place.
    }
  }
  return undefined
}

/** The directory of `aws` for a test that cannot do without; where there is none the test is skipped and returns. */
async function requireAws(test: Skippable): Promise<string | undefined> {
  const found = await findAws()
  if (found !== undefined) return found
  const reason = 'this machine cannot run the AWS command line: it is not installed'
  if (process.env['PGSLUICE_REQUIRE_ORACLES'] === '1') throw new Error(reason)
  test.skip(reason)
  return undefined
}

/** What stands between the lines `--- begin NAME ---` and `--- end NAME ---`. */
function cutOut(readme: string, name: string): string {
  const [, rest = ''] = readme.split(`--- begin ${name} ---\n`)
  const [script, end] = rest.split(`--- end ${name} ---\n`)
  assert.ok(script !== undefined && end !== undefined, `README.txt has no ${name}`)
  return script
}

async function succeed(running: Promise<ProgramResult>): Promise<string> {
  const { exitCode, stdout, stderr } = await running
  assert.equal(exitCode, 0, `${stdout}${stderr}`)
  return stdout
}

/** A cluster in the bucket, the server gone, and what its clients were told. */
interface Rescue {
  cluster: string
  acknowledged: Acknowledged[]
}

describe('README.txt of the repository, followed by hand', () => {
  let endpoint: S3Endpoint
  let home: string

  before(async () => {
    useTestCredentials()
    endpoint = await S3Endpoint.start()
    endpoint.createBucket(BUCKET)
    process.env['AWS_ENDPOINT_URL'] = endpoint.url
    process.env['AWS_REGION'] = 'us-east-1'
    home = newHome()
    await giveToServerUser(home)
  })

  after(async () => {
    await endpoint.close()
    removeHome(home)
  })

  /** Backs a cluster up under load and destroys it. */
  async function loseCluster(major: number, tablespace: string | undefined): Promise<Rescue> {
    const repository = `s3://${BUCKET}/${PREFIX}`
    const archiveCommand = `${ROOT}dist/pgsluice-wal --node ${process.execPath} push "%p" --repository ${repository}`
    await using cluster = await startCluster({
      major,
      ownInitdb: true,
      settings: { archive_mode: 'on', archive_command: archiveCommand },
    })
    if (tablespace !== undefined) {
      mkdirSync(tablespace)
      await giveToServerUser(tablespace)
      await query(cluster, `create tablespace fast location '${tablespace}'`)
      await query(cluster, 'create table elsewhere tablespace fast as select generate_series(1, 1000) as i')
    }
    const ledger = await startLedger(cluster, { clients: 2 })
    await ledger.advance(50)
    const environment = {
      ...environmentOfCommands(),
      ...cluster.env,
      PGSLUICE_REPOSITORY: repository,
      PGSLUICE_CONFIG: '/dev/null',
    }
    await succeed(runProgram(process.execPath, [MAIN, 'backup', '--quiet'], { env: environment }))
    await ledger.advance(50)
    const acknowledged = [...(await ledger.stop())]
    await archived(cluster)
    const [row] = await query<{ id: string }>(cluster, 'select system_identifier::text as id from pg_control_system()')
    return { cluster: `pg${major}-${row!.id}`, acknowledged }
  }

  /** Waits until the WAL of everything that was committed is in the archive. */
  async function archived(cluster: Cluster): Promise<void> {
    const [row] = await query<{ segment: string }>(
      cluster,
      'select pg_walfile_name(pg_current_wal_insert_lsn()) as segment',
    )
    await query(cluster, 'select pg_switch_wal()')
    await waitUntil(`"${row!.segment}" to be archived`, async () => {
      const [status] = await query<{ done: boolean }>(
        cluster,
        'select coalesce(last_archived_wal >= $1, false) as done from pg_stat_archiver',
        [row!.segment],
      )
      return status!.done
    })
  }

  /** Saves one script of README.txt, as it is in the bucket. */
  async function saveScript(name: string): Promise<string> {
    const readme = await endpoint.get(BUCKET, `${PREFIX}/README.txt`)
    const file = path.join(home, name)
    writeFileSync(file, cutOut(String(readme), name), { mode: 0o755 })
    return file
  }

  for (const major of availableMajors().filter((version) => version === 13 || version === 18)) {
    const withTablespace = major === 18
    it(`brings back PostgreSQL ${major}${withTablespace ? ' with a tablespace' : ''}`, async (t) => {
      const aws = await requireAws(t)
      if (aws === undefined) return
      const PATH = `${aws}${path.delimiter}${process.env['PATH'] ?? ''}`
      const oldLocation = withTablespace ? path.join(home, 'fast') : undefined
      const lost = await loseCluster(major, oldLocation)
      const records = `s3://${BUCKET}/${PREFIX}/${lost.cluster}/backups/`
      const listing = await succeed(runAsServerUser(path.join(aws, 'aws'), ['s3', 'ls', records], { env: { PATH } }))
      const newest = /(\S+)\.json\s*$/.exec(listing)?.[1] ?? ''

      const target = path.join(home, `restored-${major}`)
      const environment = {
        ...{ PATH, HOME: home, REPO: `s3://${BUCKET}/${PREFIX}`, CLUSTER: lost.cluster },
        ...{ BACKUP: newest, TARGET: target },
      }
      await succeed(runAsServerUser('/bin/sh', [await saveScript('restore.sh')], { env: environment }))
      if (withTablespace) await moveTablespace(target, oldLocation!)

      const fetchScript = await saveScript('restore-wal.sh')
      appendFileSync(
        path.join(target, 'postgresql.auto.conf'),
        `restore_command = '${fetchScript} ${BUCKET} ${PREFIX}/${lost.cluster} %f "%p"'\narchive_mode = off\n`,
      )
      // a start of Python for each file that the server asks for
      const patienceMs = 240_000
      await using restored = await startCluster({
        ...{ major, directory: target, env: { PATH, HOME: home } },
        start: false,
      })
      await restored.start({ timeoutMs: patienceMs })
      await waitUntil(
        'the end of recovery',
        async () => {
          const [row] = await query<{ over: boolean }>(restored, 'select not pg_is_in_recovery() as over')
          return row!.over
        },
        patienceMs,
      )
      assert.equal((await verifyLedger(restored, lost.acknowledged)).extra, 0)
      if (withTablespace) {
        const [row] = await query<{ n: number }>(restored, 'select count(*)::int as n from elsewhere')
        assert.equal(row!.n, 1000)
      }
    })
  }

  /** As README.txt says for another place: change the map, move the directory, leave nothing in pg_tblspc. */
  async function moveTablespace(target: string, oldLocation: string): Promise<void> {
    const newLocation = path.join(home, 'moved')
    const [oid] = readdirSync(path.join(target, 'pg_tblspc'))
    const map = path.join(target, 'tablespace_map')
    await succeed(runAsServerUser('sed', ['-i', `s|${oldLocation}|${newLocation}|`, map]))
    await succeed(runAsServerUser('mv', [path.join(target, 'pg_tblspc', oid!), newLocation]))
    assert.deepEqual(readdirSync(path.join(target, 'pg_tblspc')), [])
  }

  it('tells "not in the archive" from an outage, a refusal and a mistyped name', async (t) => {
    const aws = await requireAws(t)
    if (aws === undefined) return
    const cluster = 'pg18-7000000000000000001'
    await endpoint.set(BUCKET, `${PREFIX}/${cluster}/cluster.json`, Buffer.from('{}'))
    await endpoint.set(BUCKET, `${PREFIX}/README.txt`, Buffer.from(README_TEXT))
    const script = await saveScript('restore-wal.sh')
    const fetch = async (folder: string): Promise<number> => {
      const args = [script, BUCKET, `${PREFIX}/${folder}`, '0000000100000000000000FF', path.join(home, 'wanted')]
      const env = { PATH: `${aws}${path.delimiter}${process.env['PATH'] ?? ''}`, HOME: home, AWS_MAX_ATTEMPTS: '1' }
      return (await runAsServerUser('/bin/sh', args, { env })).exitCode
    }
    assert.equal(await fetch(cluster), 1)
    assert.equal(await fetch('pg18-7000000000000000002'), 200, 'a mistyped cluster')
    const later = `${PREFIX}/${cluster}/wal/00000001/00000001/000000010000000100000000.zst`
    await endpoint.set(BUCKET, later, Buffer.from('a segment'))
    assert.equal(await fetch(cluster), 200, 'a gap')
    endpoint.delete(BUCKET, later)
    assert.equal(await fetch(cluster), 1, 'the end again')
    for (const [status, code] of [
      [503, 'SlowDown'],
      [403, 'AccessDenied'],
      [404, 'NoSuchBucket'],
    ] as const) {
      endpoint.fault({ match: ({ key }) => key.includes('/wal/'), action: { status, code } })
      assert.equal(await fetch(cluster), 200, code)
      endpoint.clearFaults()
    }
    endpoint.fault({ match: ({ key }) => key.includes('/wal/'), action: 'reset' })
    assert.equal(await fetch(cluster), 200, 'a connection that breaks')
    endpoint.clearFaults()
  })
})
