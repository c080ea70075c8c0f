/**
 * `pgsluice status` against real servers: the bucket is the truth, whatever the server believes of its archive, and an idle
 * server is never behind.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Status } from '#src/commands/status.js'
import { whyNoCommandLine, type CommandResult } from '../support/command-line.js'
import {
  archiveWal,
  BUCKET,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
} from '../support/pgsluice.js'
import { nameOf, succeed, type EndpointRepository } from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'
import { runAsServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MAJORS = availableMajors()
const NEWEST = MAJORS.at(-1)!
const obstacle = await whyNoCommandLine()
/** Nothing commits but what the test does. */
const QUIET = { autovacuum: 'off' }

/** A cluster with a backup, and the repository that it archives to. */
interface Stage {
  repository: EndpointRepository
  cluster: Cluster
}

/** Asks with --json; the document must follow its schema. */
async function ask(
  { repository, cluster }: { repository: EndpointRepository; cluster?: Cluster | undefined },
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<{ exitCode: number; answer: Status }> {
  const options = cluster ? { cluster, env } : { env }
  const { exitCode, stdout, stderr } = await pgsluice(['status', '--json', ...args], repository, options)
  assert.notEqual(stdout, '', stderr)
  const answer = JSON.parse(stdout) as Status
  assertValid('status-result', answer)
  return { exitCode, answer }
}

const messagesOf = ({ problems }: Status): string => problems.map(({ message }) => message).join('\n')

/** Something in a segment, committed, and the end of that segment; does not wait for the archiver. Returns its name. */
async function fillSegment(cluster: Cluster): Promise<string> {
  await query(cluster, `create table if not exists filled (i int)`)
  await query(cluster, 'insert into filled values (1)')
  const rows = await query<{ name: string }>(cluster, 'select pg_walfile_name(pg_current_wal_insert_lsn()) as name')
  await query(cluster, 'select pg_switch_wal()')
  return rows[0]!.name
}

/** Waits until the server says that it has archived a segment. */
async function awaitClaim(cluster: Cluster, segment: string): Promise<void> {
  await waitUntil(`the server to say that it archived "${segment}"`, async () => {
    const sql = 'select last_archived_wal as last from pg_stat_archiver'
    return ((await query<{ last: string | null }>(cluster, sql))[0]!.last ?? '') >= segment
  })
}

async function setArchiveCommand(cluster: Cluster, command: string): Promise<void> {
  await query(cluster, `alter system set archive_command = '${command}'`)
  await query(cluster, 'select pg_reload_conf()')
  await waitUntil('the new archive_command', async () => {
    const rows = await query<{ value: string }>(cluster, `select current_setting('archive_command') as value`)
    return rows[0]!.value === command
  })
}

for (const major of new Set([MAJORS[0]!, NEWEST])) {
  describe(`status of PostgreSQL ${major}`, { skip: obstacle ?? false }, () => {
    let stage: Stage
    before(async () => {
      const repository = await openEndpointRepository()
      const cluster = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1, settings: QUIET })
      stage = { repository, cluster }
      await query(cluster, 'create role keeper login')
      await query(cluster, 'grant pg_read_all_settings to keeper')
      await query(cluster, 'create role stranger login')
    })
    after(async () => {
      await stage.cluster.destroy()
      await stage.repository[Symbol.asyncDispose]()
    })

    it('says that nothing is stored, then that there is no backup', async () => {
      const first = await ask(stage)
      assert.equal(first.exitCode, 1)
      assert.match(messagesOf(first.answer), /^nothing of this cluster is stored in "s3:/)
      await archiveWal(stage.cluster, stage.repository)
      const second = await ask(stage)
      assert.equal(second.exitCode, 1)
      assert.equal(messagesOf(second.answer), 'there is no backup')
      assert.deepEqual([second.answer.lag?.segments, second.answer.recoverable], [0, undefined])
    })

    it('is ok with a lag of 0 for an idle server, however long ago the last commit was', async () => {
      const { cluster, repository } = stage
      await succeed(['backup', '--label', 'nightly'], repository, { cluster })
      await query(cluster, 'create table t as select 1 as i')
      const [row] = await query<{ time: string }>(cluster, 'select clock_timestamp()::timestamptz(0) as time')
      await archiveWal(cluster, repository)
      // what an idle server writes, and nobody has ever asked for
      await query(cluster, 'checkpoint')
      const { exitCode, answer } = await ask(stage, ['--max-lag', '1ms', '--max-segments', '0'])
      assert.equal(exitCode, 0, messagesOf(answer))
      assert.deepEqual([answer.ok, answer.clock, answer.timeline, answer.problems], [true, 'server', 1, []])
      assert.deepEqual([answer.lag?.segments, answer.lag?.seconds, answer.lag?.isAtMost], [0, 0, false])
      assert.ok(answer.lag!.bytes < 1024)
      assert.equal(answer.backup?.label, 'nightly')
      assert.equal(answer.recoverable?.isBackupEnd, false)
      assert.ok(Math.abs(Date.parse(answer.recoverable.time) - Date.parse(row!.time)) < 60_000)
      assert.equal(answer.server?.archiver.isFailing, false)
      assert.equal(answer.server.archiver.readyFiles, 0)
      assert.equal(answer.heads.length, 1)

      const text = await succeed(['status'], repository, { cluster })
      const lines = text.stdout.split('\n')
      assert.match(lines[0]!, /^ok: the archive is 0\.0 s and \d+ B behind, recoverable up to \d{4}-\d\d-\d\d .* UTC$/)
      assert.ok(lines.length > 8)
    })

    it('needs the privileges of a backup role only, and no data directory', async () => {
      const { cluster, repository } = stage
      const { exitCode, answer } = await ask(stage, ['--max-lag', '1ms'], { PGUSER: 'keeper' })
      assert.equal(exitCode, 0, messagesOf(answer))
      assert.equal(answer.server?.archiver.readyFiles, undefined)
      // a role that may not see where the data directory is, as from another host: only a bound is known
      // its first session sets hint bits, and with data checksums their pages are written to WAL
      await ask(stage, [], { PGUSER: 'stranger' })
      await archiveWal(cluster, repository)
      const idle = await ask(stage, ['--max-lag', '1ms'], { PGUSER: 'stranger' })
      assert.equal(idle.exitCode, 0, messagesOf(idle.answer))
      await query(cluster, `insert into t select generate_series(1, 1000)`)
      const busy = await ask(stage, [], { PGUSER: 'stranger' })
      assert.equal(busy.exitCode, 0)
      assert.equal(busy.answer.lag?.isAtMost, true)
      const exact = await ask(stage)
      assert.equal(exact.answer.lag?.isAtMost, false)
      assert.ok(exact.answer.lag.seconds! > 0 && exact.answer.lag.seconds! < busy.answer.lag.seconds! + 60)
      const text = await succeed(['status'], repository, { cluster, env: { PGUSER: 'stranger' } })
      assert.match(text.stdout, /^ok: the archive is at most /)
      await archiveWal(cluster, repository)
    })

    it('counts what waits while archiving fails, and forgets the failure when it works again', async () => {
      const { cluster, repository } = stage
      await setArchiveCommand(cluster, 'false')
      const segments = [await fillSegment(cluster), await fillSegment(cluster), await fillSegment(cluster)]
      await waitUntil('archiving to fail', async () => {
        const rows = await query<{ count: number }>(cluster, 'select failed_count::int as count from pg_stat_archiver')
        return rows[0]!.count > 0
      })
      const { exitCode, answer } = await ask(stage, ['--max-segments', '2', '--max-lag', '1ms'])
      assert.equal(exitCode, 1)
      assert.match(messagesOf(answer), /^archiving fails: the last attempt, for "[0-9A-F]{24}", was at /)
      assert.match(messagesOf(answer), /whole WAL segments that are not in the archive: 3, more than 2/)
      assert.match(messagesOf(answer), /the archive is [\d.]+ s behind, more than 0\.001 s/)
      const { lag, server } = answer
      assert.deepEqual([lag?.segments, lag?.next, lag?.isAtMost], [3, segments[0], false])
      assert.ok(lag!.bytes >= 3 * 2 ** 20 && lag!.seconds! > 0)
      assert.deepEqual([server?.archiver.isFailing, server?.archiver.lastFailed], [true, segments[0]])
      assert.equal(server?.archiver.readyFiles, 3)
      const text = await pgsluice(['status', '--max-segments', '3'], repository, { cluster })
      assert.equal(text.exitCode, 1)
      assert.match(text.stdout, /^problem: archiving fails: .*\n/)

      await query(cluster, 'alter system reset archive_command')
      await query(cluster, 'select pg_reload_conf()')
      // after three failures the archiver rests for a minute, unless a new segment wakes it
      await fillSegment(cluster)
      await waitUntil('the archive to be complete', async () => {
        const again = await ask(stage, ['--max-segments', '0'])
        return again.exitCode === 0
      })
    })

    it('finds an archive_command out that says 0 and stores nothing', async () => {
      const { cluster, repository } = stage
      await setArchiveCommand(cluster, 'true')
      const lost = await fillSegment(cluster)
      await awaitClaim(cluster, lost)
      const { exitCode, answer } = await ask(stage)
      assert.equal(exitCode, 1)
      assert.match(messagesOf(answer), new RegExp(`^the server says that it archived "${lost}", but it is not in "s3:`))
      assert.deepEqual([answer.lag?.segments, answer.lag?.next, answer.server?.archiver.isFailing], [1, lost, false])
      await query(cluster, 'alter system reset archive_command')
      await query(cluster, 'select pg_reload_conf()')
      const behind = await archiveWal(cluster, repository)
      const later = await ask(stage)
      assert.equal(later.exitCode, 1)
      assert.equal(later.answer.gap?.missing, lost)
      assert.equal(later.answer.gap.behind, behind)
      await succeed(['backup'], repository, { cluster })
      assert.equal((await ask(stage)).exitCode, 0)
    })
  })
}

describe('status', { skip: obstacle ?? false }, () => {
  let stage: Stage
  before(async () => {
    const repository = await openEndpointRepository()
    const cluster = await startArchivingCluster(repository, { major: NEWEST, walSegmentSizeMb: 1, settings: QUIET })
    stage = { repository, cluster }
    await succeed(['backup'], repository, { cluster })
    await archiveWal(cluster, repository)
  })
  after(async () => {
    await stage.cluster.destroy()
    await stage.repository[Symbol.asyncDispose]()
  })

  /** Deletes an object of the repository while `during` runs. */
  async function without(key: string, during: () => Promise<void>): Promise<void> {
    const bytes = await stage.repository.get(key)
    stage.repository.delete(key)
    try {
      await during()
    } finally {
      await stage.repository.set(key, bytes)
    }
  }
  const keyOf = async (segment: string): Promise<string> =>
    (await stage.repository.keys()).find((key) => key.endsWith(`/${segment}.zst`))!

  it('finds the first gap behind the newest backup, and the instant before it', async () => {
    const { cluster, repository } = stage
    await query(cluster, 'create table before_gap as select 1 as i')
    await archiveWal(cluster, repository)
    const whole = await ask(stage)
    assert.equal(whole.exitCode, 0, messagesOf(whole.answer))
    await query(cluster, 'create table in_gap as select 1 as i')
    const missing = await archiveWal(cluster, repository)
    await query(cluster, 'create table behind_gap as select 1 as i')
    const behind = await archiveWal(cluster, repository)
    await without(await keyOf(missing), async () => {
      repository.endpoint.makeOld(BUCKET)
      for (const offline of [false, true]) {
        const { exitCode, answer } = await ask(stage, offline ? ['--offline'] : [])
        assert.equal(exitCode, 1)
        assert.match(messagesOf(answer), new RegExp(`^WAL segment "${missing}" is missing behind backup`))
        assert.deepEqual([answer.gap?.missing, answer.gap?.behind], [missing, behind])
        assert.equal(answer.recoverable?.lsn, whole.answer.recoverable?.lsn)
        if (!offline) assert.deepEqual([answer.lag?.next, answer.lag?.segments], [missing, 2])
      }
    })
    const again = await ask(stage)
    assert.equal(again.exitCode, 0)
    assert.ok(again.answer.recoverable!.time > whole.answer.recoverable!.time)
  })

  it('passes over a backup whose own WAL is incomplete, and says so', async () => {
    const { cluster, repository } = stage
    const good = await ask(stage)
    await succeed(['backup', '--label', 'broken'], repository, { cluster })
    await archiveWal(cluster, repository)
    const { answer: both } = await ask(stage)
    assert.equal(both.backup?.label, 'broken')
    const record = JSON.parse((await repository.get(`${both.cluster}/backups/${both.backup.id}.json`)).toString()) as {
      start: { segment: string }
    }
    await without(await keyOf(record.start.segment), async () => {
      const { exitCode, answer } = await ask(stage)
      assert.equal(exitCode, 1)
      assert.match(messagesOf(answer), new RegExp(`backup ${both.backup!.id} cannot be restored: WAL .* is missing`))
      assert.equal(answer.backup?.id, good.answer.backup?.id)
    })
  })

  it('looks at the bucket alone where it is told to', async () => {
    const { cluster, repository } = stage
    const { answer: online } = await ask(stage)
    for (const args of [[], ['--cluster', await nameOf(cluster)], ['--pgdata', cluster.pgdata]]) {
      const { exitCode, answer } = await ask({ repository }, ['--offline', ...args])
      assert.equal(exitCode, 0, messagesOf(answer))
      assert.deepEqual([answer.clock, answer.server, answer.lag, answer.timeline], ['local', undefined, undefined, 1])
      assert.deepEqual(
        [answer.backup?.id, answer.recoverable?.lsn, answer.cluster],
        [online.backup?.id, online.recoverable?.lsn, online.cluster],
      )
    }
    const { stdout } = await succeed(['status', '--offline'], repository)
    assert.match(stdout, /^ok: recoverable up to .* \(the server was not asked\)\n/)
  })

  it('is told by a standby, too: the archive is not behind what it has replayed', async () => {
    const { cluster, repository } = stage
    using workplace = await openWorkplace()
    const directory = workplace.at('standby')
    await cluster.stop()
    assert.equal((await runAsServerUser('cp', ['-Rp', cluster.pgdata, directory])).exitCode, 0)
    await cluster.start()
    assert.equal((await runAsServerUser('touch', [`${directory}/standby.signal`])).exitCode, 0)
    await using standby = await startCluster({
      major: NEWEST,
      directory,
      env: repository.env,
      settings: { restore_command: 'false', hot_standby: 'on' },
    })
    const { exitCode, answer } = await ask({ repository, cluster: standby }, [
      '--max-lag',
      '1ms',
      '--max-segments',
      '0',
    ])
    assert.deepEqual([answer.server?.inRecovery, answer.timeline], [true, 1])
    assert.equal(exitCode, 0, messagesOf(answer))
    assert.equal(answer.lag?.seconds, 0)
  })

  it('says when archiving is switched off', async () => {
    const { cluster, repository } = stage
    await using copy = await startCopy(cluster, repository, { archive_mode: 'off' })
    const { exitCode, answer } = await ask({ repository, cluster: copy })
    assert.equal(exitCode, 1)
    assert.match(messagesOf(answer), /archive_mode is off/)
  })

  const refusals: readonly { name: string; args: string[]; env?: NodeJS.ProcessEnv; exitCode: number; says: RegExp }[] =
    [
      {
        name: 'a limit that is no duration',
        args: ['--max-lag', '5'],
        exitCode: 2,
        says: /Expected a duration such as 5min/,
      },
      {
        name: 'a limit that is no number',
        args: ['--max-segments', 'x'],
        exitCode: 2,
        says: /Expected a whole number/,
      },
      {
        name: 'a limit with --offline',
        args: ['--offline', '--max-lag', '5s'],
        exitCode: 2,
        says: /Leave --offline away/,
      },
      { name: 'another cluster', args: ['--cluster', 'other'], exitCode: 2, says: /no cluster in .* is named "other"/ },
      { name: 'no server', args: [], env: { PGHOST: '/nowhere' }, exitCode: 3, says: /could not connect/ },
      { name: 'no bucket', args: ['--repository', 's3://nowhere/x'], exitCode: 3, says: /nowhere/ },
      {
        name: "another server's directory",
        args: ['--pgdata', '/'],
        exitCode: 4,
        says: /the data directory of the server is/,
      },
    ]
  for (const { name, args, env, exitCode, says } of refusals) {
    it(`cannot answer with ${name}`, async () => {
      const { cluster, repository } = stage
      const ended: CommandResult = await pgsluice(['status', ...args], repository, { cluster, ...(env && { env }) })
      assert.equal(ended.exitCode, exitCode, ended.stdout + ended.stderr)
      assert.equal(ended.stdout, '')
      assert.match(ended.stderr, says)
    })
  }
})

/** A copy of a cluster's directory, started beside it. */
async function startCopy(
  cluster: Cluster,
  repository: EndpointRepository,
  settings: Record<string, string>,
): Promise<Cluster & AsyncDisposable> {
  const workplace = await openWorkplace()
  const directory = workplace.at('copy')
  await cluster.stop()
  assert.equal((await runAsServerUser('cp', ['-Rp', cluster.pgdata, directory])).exitCode, 0)
  await cluster.start()
  const copy = await startCluster({ major: cluster.major, directory, env: repository.env, settings })
  return Object.assign(copy, {
    [Symbol.asyncDispose]: async () => {
      await copy.destroy()
      workplace[Symbol.dispose]()
    },
  })
}
