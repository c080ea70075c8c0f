/**
 * What a restored server is told besides its target: settings of the source that would spoil it cannot win (R11), a standby
 * follows the archive until it is promoted, and an isolated copy can do no harm (A12).
 */
import assert from 'node:assert/strict'
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import {
  archiveWal,
  openDirectoryRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MAJORS = [...new Set([availableMajors()[0]!, availableMajors().at(-1)!])]

/** Everything that could end the recovery of a copy, send it elsewhere, or keep it from starting (R11). */
const POISON = (major: number): string =>
  [
    "recovery_target = 'immediate'",
    "recovery_target_timeline = '77'",
    "recovery_target_inclusive = 'off'",
    "recovery_target_action = 'shutdown'",
    "restore_command = 'false'",
    "recovery_end_command = 'touch recovery_end_command_ran'",
    "archive_cleanup_command = 'touch archive_cleanup_command_ran'",
    "primary_conninfo = 'host=/nowhere'",
    "primary_slot_name = 'nobody'",
    ...(major <= 15 ? ["promote_trigger_file = '/dev/null'"] : []),
    '',
  ].join('\n')

for (const major of MAJORS) {
  describe(`a restored server of PostgreSQL ${major}`, () => {
    let workplace: Awaited<ReturnType<typeof openWorkplace>>
    let repository: Awaited<ReturnType<typeof openDirectoryRepository>>
    let source: Cluster
    let targets = 0

    before(async () => {
      workplace = await openWorkplace()
      repository = await openDirectoryRepository()
      const settings = { shared_preload_libraries: 'auto_explain', synchronous_standby_names: '' }
      source = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1, settings })
      await query(source, 'create table rows as select 1 as n')
      // read by the next start only: the source goes on as it is
      mkdirSync(path.join(source.pgdata, 'conf.d'))
      writeFileSync(path.join(source.pgdata, 'conf.d/poison.conf'), POISON(major))
      const acting = [
        "include_dir = 'conf.d'",
        "Shared_Preload_Libraries = 'auto_explain, pg_cron'",
        "synchronous_standby_names 'nobody'",
        'max_logical_replication_workers = 4',
      ]
      appendFileSync(path.join(source.pgdata, 'postgresql.conf'), `${acting.join('\n')}\n`)
      appendFileSync(path.join(source.pgdata, 'postgresql.auto.conf'), POISON(major))
      await giveToServerUser(path.join(source.pgdata, 'conf.d'))
      await succeed(['backup'], repository, { cluster: source })
      await query(source, `select pg_create_restore_point('here')`)
      await query(source, 'insert into rows values (2)')
      await archiveWal(source, repository)
    })
    after(async () => {
      await source.destroy()
      await repository[Symbol.asyncDispose]()
      workplace[Symbol.dispose]()
    })

    async function restore(args: readonly string[]): Promise<string> {
      const directory = workplace.at(`target-${++targets}`)
      await succeed(['restore', ...args, '--target-dir', directory], repository)
      return directory
    }
    const rows = async (cluster: Cluster): Promise<number[]> =>
      (await query<{ n: number }>(cluster, 'select n from rows order by n')).map(({ n }) => n)
    const setting = async (cluster: Cluster, name: string): Promise<string> =>
      (await query<{ value: string }>(cluster, 'select current_setting($1) as value', [name]))[0]!.value
    /** The source names a library that is not installed: a server that loads it does not start. */
    const loadable = { shared_preload_libraries: 'auto_explain', synchronous_standby_names: '' }

    for (const [args, expected] of [
      [[], [1, 2]],
      [['--target-name', 'here', '--scan'], [1]],
      [['--target', 'immediate'], [1]],
    ] as const) {
      it(`recovers as it is told, whatever its source was told: ${args.join(' ') || 'to the end'} (R11)`, async () => {
        const directory = await restore(args)
        await using cluster = await startRestored(major, directory, repository, { settings: loadable })
        assert.deepEqual(await rows(cluster), expected)
        for (const command of ['recovery_end_command', 'archive_cleanup_command'])
          assert.ok(!existsSync(path.join(directory, `${command}_ran`)), command)
        assert.equal(await setting(cluster, 'archive_mode'), 'off')
      })
    }

    it('follows the archive as a standby, and is the next primary when it is promoted (R13)', async () => {
      const directory = await restore(['--standby', '--primary-conninfo', "host=/nowhere application_name='it''s'"])
      assert.ok(existsSync(path.join(directory, 'standby.signal')))
      assert.ok(!existsSync(path.join(directory, 'recovery.signal')))
      await using standby = await startCluster({
        major,
        directory,
        env: repository.env,
        settings: loadable,
        start: false,
      })
      await standby.start({ wait: 'ready' })
      assert.equal(await setting(standby, 'primary_conninfo'), "host=/nowhere application_name='it''s'")
      await query(source, 'insert into rows values (3)')
      await archiveWal(source, repository)
      await waitUntil('the row to arrive', async () => (await rows(standby)).includes(3))
      assert.deepEqual(await query(standby, 'select pg_is_in_recovery() as standby'), [{ standby: true }])
      assert.deepEqual(await query(standby, 'select pg_promote(true, 60) as promoted'), [{ promoted: true }])
      assert.equal(await setting(standby, 'archive_mode'), 'on')
      await archiveWal(standby, repository)
      assert.ok((await repository.keys()).some((key) => key.endsWith('/00000002.history.zst')))
    })

    it('is isolated where that is asked for: it archives, waits, subscribes and runs nothing (A12)', async () => {
      const directory = await restore(['--isolated', '--target-timeline', '1'])
      const { lines } = await pgsluice(
        ['restore', '--isolated', '--target-timeline', '1', '--json', '--target-dir', workplace.at(`told-${major}`)],
        repository,
      )
      assert.ok(lines.some((line) => line.type === 'step' && line.message.includes('pg_cron will not be loaded')))
      await using copy = await startRestored(major, directory, repository)
      for (const [name, value] of [
        ['archive_mode', 'off'],
        ['synchronous_standby_names', ''],
        ['max_logical_replication_workers', '0'],
        ['shared_preload_libraries', 'auto_explain'],
      ] as const)
        assert.equal(await setting(copy, name), value)
      const launcher = `select from pg_stat_activity where backend_type = 'logical replication launcher'`
      assert.deepEqual(await query(copy, launcher), [])
      await query(copy, 'insert into rows values (9)')
    })

    const wrong: [string[], RegExp][] = [
      [['--standby', '--target', 'immediate'], /a standby has no recovery target/],
      [['--primary-conninfo', 'host=x'], /only a standby has a primary_conninfo/],
      [['--isolated', '--standby'], /cannot be isolated/],
      [['--isolated', '--archive-mode', 'preserve'], /an isolated copy does not archive/],
      [['--target', 'immediate', '--target-xid', '800'], /only one of --target-xid and --target/],
      [['--target-time', '2026-11-22 12:00'], /has no offset/],
      [['--target-timeline', 'newest'], /--target-timeline: expected a number/],
    ]
    for (const [args, says] of wrong) {
      it(`is not made from options that contradict: ${args.join(' ')}`, async () => {
        const directory = workplace.at('never')
        const { exitCode, stderr } = await pgsluice(['restore', ...args, '--target-dir', directory], repository)
        assert.equal(exitCode, 2)
        assert.match(stderr, says)
        assert.ok(!existsSync(directory))
      })
    }

    it('has the settings of its source besides those that were replaced', async () => {
      const auto = readFileSync(path.join(await restore(['--target-timeline', '1']), 'postgresql.auto.conf'), 'utf8')
      assert.match(auto, /^# disabled when restored: recovery_target_timeline = '77'$/m)
      assert.equal(auto.match(/^recovery_target_timeline/gm)?.length, 1)
    })
  })
}
