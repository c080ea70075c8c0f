/**
 * One history, restored to every kind of target: which rows are there afterwards is exactly what PostgreSQL's definition of
 * the target says, before, at and after one commit. Then the history forks, and goes on to timeline 0xD.
 *
 * Which rows those are is decided by the settings that restore writes and by the WAL that it leaves to be replayed, and not by
 * what hands the segments to the server. So archive_command keeps a plain copy of each file besides, and most servers replay
 * from that, at the price of "cp"; those marked "ours" fetch with pgsluice-wal, in every shape that the way through the
 * timelines has.
 *
 * Runs on the oldest and the newest version; on all with PGSLUICE_TEST_ALL_MAJORS=1.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { QueryResult } from 'pg'
import type { PlanAnswer, ReachablePlan } from '#src/commands/plan.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { FRONT } from '../support/command-line.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { openClient, query, startCluster, type Cluster } from '../support/postgres.js'
import {
  archiveWal,
  makeOld,
  openDirectoryRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { assertValid } from '../support/schemas.js'
import { giveToServerUser } from '../support/server-user.js'

const ALL = availableMajors()
const MAJORS = process.env['PGSLUICE_TEST_ALL_MAJORS'] === '1' ? ALL : [...new Set([ALL[0]!, ALL.at(-1)!])]

/** A transaction that inserted the row `n`, or would have. */
interface Transaction {
  n: number
  xid: string
  /** `2026-11-22 18:45:01.123456+00`; empty for one that was rolled back. */
  time: string
  /** Where the record of its end begins, and an LSN behind it. */
  lsn: string
  behind: string
}

const TIME = `to_char($1::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'`
const LSN = 'select pg_current_wal_insert_lsn()::text as lsn'

/** Inserts a row in a transaction of its own, which nothing else comes between. */
async function insert(cluster: Cluster, n: number, end: 'commit' | 'rollback' = 'commit'): Promise<Transaction> {
  const client = await openClient(cluster)
  const one = async (sql: string, params: unknown[] = []): Promise<string> =>
    Object.values((await client.query<Record<string, string>>(sql, params)).rows[0]!)[0]!
  try {
    await client.query('begin')
    await client.query('insert into history values ($1)', [n])
    const xid = await one('select txid_current()::text')
    // in one message: the server writes records of its own every now and then, and none may come between
    const [before] = (await client.query(`${LSN}; ${end}`)) as unknown as [QueryResult<{ lsn: string }>]
    const { lsn } = before.rows[0]!
    const behind = await one(LSN)
    const time =
      end === 'commit'
        ? await one(`select ${TIME}`, [await one('select pg_xact_commit_timestamp($1)::text', [xid])])
        : ''
    return { n, xid, time, lsn, behind }
  } finally {
    await client.end()
  }
}

/** An instant so many microseconds after one, in the same form. */
function shifted(time: string, microseconds: number): string {
  const whole = BigInt(Date.parse(`${time.slice(0, 19).replace(' ', 'T')}Z`)) * 1000n + BigInt(time.slice(20, 26))
  const moved = whole + BigInt(microseconds)
  const text = new Date(Number(moved / 1000n)).toISOString().slice(0, 19).replace('T', ' ')
  return `${text}.${String(moved % 1_000_000n).padStart(6, '0')}+00`
}

/** The timeline after twelve promotions. */
const LAST = 13

const upTo = (last: number): number[] => Array.from({ length: last }, (_, index) => index + 1)

for (const major of MAJORS) {
  describe(`recovery of PostgreSQL ${major}`, () => {
    let workplace: Awaited<ReturnType<typeof openWorkplace>>
    let repository: Awaited<ReturnType<typeof openDirectoryRepository>>
    /** Rows by number; 0 is one that was rolled back. */
    const rows = new Map<number, Transaction>()
    let [backupA, backupB, backupC] = ['', '', '']
    let beforeA = { time: '', lsn: '' }
    /** Where the first backup began. */
    let insideA = { time: '', lsn: '' }
    let targets = 0

    const row = (n: number): Transaction => rows.get(n)!
    const push = [FRONT, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
    const plain = (): string => quoteShell(workplace.at('plain'))
    const archiving = (): Record<string, string> => ({
      archive_mode: 'on',
      archive_command: `${push} "%p" --repository ${quoteShell(repository.url)} && cp "%p" ${plain()}/%f`,
    })
    const settings = { track_commit_timestamp: 'on', autovacuum: 'off' }
    /** Settings that replay from the plain copies, instead of the restore_command that restore wrote. */
    const fromPlain = (): Record<string, string> => ({ ...settings, restore_command: `cp ${plain()}/%f "%p"` })

    async function backUp(cluster: Cluster, label: string): Promise<string> {
      return (await succeed(['backup', '--quiet', '--label', label], repository, { cluster })).stdout.trim()
    }

    /** Restores, and returns the directory. */
    async function restore(args: readonly string[]): Promise<string> {
      const directory = workplace.at(`target-${++targets}`)
      await succeed(['restore', ...args, '--target-dir', directory], repository)
      assert.ok(readFileSync(path.join(directory, 'postgresql.auto.conf'), 'utf8').includes(FRONT))
      return directory
    }

    async function rowsOf(cluster: Cluster): Promise<number[]> {
      return (await query<{ n: number }>(cluster, 'select n from history order by n')).map(({ n }) => n)
    }

    async function restoredRows(args: readonly string[], ours = false): Promise<number[]> {
      const options = { settings: ours ? settings : fromPlain() }
      await using cluster = await startRestored(major, await restore(args), repository, options)
      return await rowsOf(cluster)
    }

    /** Neither restore nor plan take a target that cannot be reached, and nothing is written. */
    async function assertUnreachable(args: readonly string[], says: RegExp): Promise<void> {
      const directory = workplace.at('never')
      const restored = await pgsluice(['restore', ...args, '--target-dir', directory], repository)
      assert.match(restored.stderr, says)
      assert.equal(restored.exitCode, 4)
      assert.ok(!existsSync(directory))
      const planned = await pgsluice(['plan', ...args], repository)
      assert.match(planned.stdout, says)
      assert.equal(planned.exitCode, 1)
    }

    before(async () => {
      workplace = await openWorkplace()
      repository = await openDirectoryRepository()
      mkdirSync(workplace.at('plain'))
      await giveToServerUser(workplace.at('plain'))
      const options = { major, walSegmentSizeMb: 1, settings: { ...settings, ...archiving() } }
      await using cluster = await startArchivingCluster(repository, options)
      await query(cluster, 'create table history (n int)')
      beforeA = {
        time: Object.values((await query<Record<string, string>>(cluster, `select ${TIME}`, [new Date()]))[0]!)[0]!,
        lsn: (await query<{ lsn: string }>(cluster, LSN))[0]!.lsn,
      }
      backupA = await backUp(cluster, 'a')
      const record = (await repository.keys()).find((key) => key.endsWith(`/backups/${backupA}.json`))!
      const { start } = JSON.parse((await repository.get(record)).toString()) as { start: typeof insideA }
      insideA = { time: start.time.replace('Z', '+00'), lsn: start.lsn }
      for (const n of [1, 2]) rows.set(n, await insert(cluster, n))
      await query(cluster, `select pg_create_restore_point('alpha')`)
      rows.set(3, await insert(cluster, 3))
      await archiveWal(cluster, repository)
      backupB = await backUp(cluster, 'b')
      for (const n of [4, 5]) rows.set(n, await insert(cluster, n))
      rows.set(0, await insert(cluster, 0, 'rollback'))
      rows.set(6, await insert(cluster, 6))
      await query(cluster, `select pg_create_restore_point('omega')`)
      rows.set(7, await insert(cluster, 7))
      await archiveWal(cluster, repository)
    })
    after(async () => {
      await repository[Symbol.asyncDispose]()
      workplace[Symbol.dispose]()
    })

    const cases: { name: string; args: () => string[]; rows: number[]; ours?: boolean }[] = [
      { name: 'the end of the archive', args: () => [], rows: upTo(7), ours: true },
      { name: 'the end of a backup, at once', args: () => [backupB, '--target', 'immediate'], rows: upTo(3) },
      { name: 'the end of the older backup, at once', args: () => [backupA, '--target', 'immediate'], rows: [] },
      { name: 'the time of a commit', args: () => ['--target-time', row(5).time], rows: upTo(5) },
      {
        name: 'the time of a commit, exclusive',
        args: () => ['--target-time', row(5).time, '--target-exclusive'],
        rows: upTo(4),
      },
      {
        name: 'a microsecond before a commit',
        args: () => ['--target-time', shifted(row(5).time, -1)],
        rows: upTo(4),
      },
      {
        name: 'a microsecond before a commit, exclusive',
        args: () => ['--target-time', shifted(row(5).time, -1), '--target-exclusive'],
        rows: upTo(4),
      },
      {
        name: 'a microsecond after a commit, exclusive',
        args: () => ['--target-time', shifted(row(5).time, 1), '--target-exclusive'],
        rows: upTo(5),
      },
      {
        name: 'a microsecond after a commit, in another zone',
        args: () => [
          '--target-time',
          shifted(row(5).time, 1 + 2 * 3_600_000_000)
            .replace(' ', 'T')
            .replace('+00', '+02:00'),
        ],
        rows: upTo(5),
      },
      {
        name: 'a time before the newest backup, from the older one',
        args: () => ['--target-time', row(2).time],
        rows: upTo(2),
      },
      { name: 'the LSN of a commit', args: () => ['--target-lsn', row(5).lsn], rows: upTo(5) },
      {
        name: 'the LSN of a commit, exclusive',
        args: () => ['--target-lsn', row(5).lsn, '--target-exclusive'],
        rows: upTo(4),
      },
      { name: 'an LSN behind a commit', args: () => ['--target-lsn', row(5).behind], rows: upTo(5) },
      {
        name: 'an LSN behind a commit, exclusive',
        args: () => ['--target-lsn', row(5).behind, '--target-exclusive'],
        rows: upTo(5),
      },
      {
        name: 'an LSN before the newest backup',
        args: () => ['--target-lsn', row(2).behind],
        rows: upTo(2),
        ours: true,
      },
      { name: 'a transaction', args: () => [backupA, '--target-xid', row(5).xid], rows: upTo(5) },
      {
        name: 'a transaction, exclusive, found in the WAL',
        args: () => ['--target-xid', row(5).xid, '--scan', '--target-exclusive'],
        rows: upTo(4),
      },
      {
        name: 'a transaction that was rolled back',
        args: () => ['--target-xid', row(0).xid, '--scan'],
        rows: upTo(5),
      },
      { name: 'a restore point', args: () => [backupB, '--target-name', 'omega'], rows: upTo(6) },
      {
        name: 'a restore point before the newest backup, found in the WAL',
        args: () => ['--target-name', 'alpha', '--scan'],
        rows: upTo(2),
      },
    ]
    for (const { name, args, rows: expected, ours } of cases) {
      it(`to ${name} has rows ${expected.length === 0 ? 'none' : `1 to ${expected.at(-1)}`} (I1, I3, I6)`, async () => {
        assert.deepEqual(await restoredRows(args(), ours), expected)
      })
    }

    it('pauses at the target where that is asked for', async () => {
      const directory = await restore(['--target-time', row(5).time, '--target-action', 'pause'])
      await using cluster = await startCluster({ major, directory, env: repository.env, settings, start: false })
      await cluster.start({ wait: 'running' })
      await cluster.waitForLog(/recovery has paused|pausing at the end of recovery/)
      assert.deepEqual(await rowsOf(cluster), upTo(5))
      assert.ok(existsSync(path.join(directory, 'recovery.signal')))
    })

    it('shuts down at the target where that is asked for', async () => {
      const directory = await restore(['--target-lsn', row(5).behind, '--target-action', 'shutdown'])
      await using cluster = await startCluster({ major, directory, settings: fromPlain(), start: false })
      await cluster.start({ wait: 'none' })
      await cluster.waitForEnd()
      assert.match(cluster.logText(), /shutdown at recovery target/)
      assert.ok(existsSync(path.join(directory, 'recovery.signal')))
    })

    const impossible: { name: string; args: () => string[]; says: RegExp }[] = [
      {
        name: 'a time before the first backup',
        args: () => ['--target-time', beforeA.time],
        says: /time .* is before the oldest backup ended[^]*Any time after .* can be reached/,
      },
      {
        name: 'a time inside the first backup (I2)',
        args: () => ['--target-time', insideA.time],
        says: /time .* lies inside backup .*, which is consistent only from its end on[^]*Any time after .* can be reached/,
      },
      {
        name: 'an LSN inside the first backup (I2)',
        args: () => ['--target-lsn', insideA.lsn],
        says: /LSN .* lies inside backup .*, which is consistent only from its end on[^]*From .* on any LSN can be reached/,
      },
      {
        name: 'an LSN before the first backup',
        args: () => ['--target-lsn', beforeA.lsn],
        says: /lsn .* is before the oldest backup ended[^]*From .* on any LSN can be reached/i,
      },
      {
        name: 'a time before the named backup',
        args: () => [backupB, '--target-time', row(2).time],
        says: /is before backup .* ended/,
      },
      {
        name: 'a time after the last commit (I4)',
        args: () => ['--target-time', shifted(row(7).time, 60_000_000)],
        says: /is after the end of the archive: its last commit is at [^]*Without a target/,
      },
      {
        name: 'the very time of the last commit, which nothing follows (I4)',
        args: () => ['--target-time', row(7).time],
        says: /is after the end of the archive/,
      },
      {
        name: 'an LSN behind the last record (I4)',
        args: () => ['--target-lsn', 'F/0'],
        says: /is after the end of the archive: its last record is at /,
      },
      {
        name: 'a timeline that nobody knows',
        args: () => ['--target-timeline', '9'],
        says: /timeline 9 is not in the archive[^]*only timeline 1/,
      },
      {
        name: 'a restore point that was never made',
        args: () => ['--target-name', 'never', '--scan'],
        says: /never.* is nowhere in the WAL that follows any backup/,
      },
      {
        name: 'a transaction that was over before the named backup',
        args: () => [backupB, '--target-xid', row(2).xid, '--scan'],
        says: /is nowhere in the WAL that follows backup/,
      },
    ]
    for (const { name, args, says } of impossible) {
      it(`to ${name} is refused before a byte is written`, async () => {
        await assertUnreachable(args(), says)
      })
    }

    it('is planned with all that a restore would use, as JSON and as text', async () => {
      const planOf = async (args: readonly string[]): Promise<ReachablePlan> => {
        const answer = JSON.parse((await succeed(['plan', ...args, '--json'], repository)).stdout) as PlanAnswer
        assertValid('plan-result', answer)
        assert.ok(answer.reachable)
        return answer
      }
      const { backup, proven, timelines, wal, gap, end, downloadBytes, duration } = await planOf([])
      assert.deepEqual(
        [backup.id, proven, gap, timelines.length, timelines[0]!.timeline],
        [backupB, true, undefined, 1, 1],
      )
      const keys = (await repository.keys()).filter((key) => /\/[0-9A-F]{24}\.zst$/.test(key)).sort()
      const needed = keys.filter((key) => path.basename(key, '.zst') >= wal.first!)
      assert.deepEqual([wal.segments, wal.last], [needed.length, path.basename(needed.at(-1)!, '.zst')])
      const sizes = await Promise.all(needed.map(async (key) => (await repository.get(key)).length))
      assert.equal(
        wal.storedBytes,
        sizes.reduce((sum, size) => sum + size, 0),
      )
      assert.equal(downloadBytes, wal.storedBytes + backup.storedBytes)
      assert.equal(end?.commitTime, new Date(row(7).time).toISOString())
      // by the rate that was measured
      assert.ok(duration.storedBytesPerSecond > 0 && duration.walSeconds! > 0)
      assert.equal(duration.restoreSeconds, backup.storedBytes / duration.storedBytesPerSecond)

      const xid = ['--target-xid', row(5).xid]
      assert.equal((await planOf([backupA, ...xid])).proven, false)
      const { found, ...scanned } = await planOf([...xid, '--scan'])
      assert.deepEqual([scanned.backup.id, scanned.proven, found?.lsn], [backupB, true, row(5).lsn])
      const { stdout } = await succeed(['plan', backupA, ...xid], repository)
      assert.match(stdout, /^target .*transaction \d+ \(not looked for: --scan would\)$/m)
      for (const line of [
        new RegExp(`^backup +${backupA} \\(a\\)$`, 'm'),
        /^timeline +1 from [0-9A-F]+\/[0-9A-F]+$/m,
        /^WAL +\d+ segments, [0-9A-F]{24} to [0-9A-F]{24}, .* stored$/m,
        /^first gap +none$/m,
        /^archive ends +last commit .*, last record at /m,
        /^download +.* of backup, .* of WAL$/m,
        /^duration +.* to read the backup \(.*\/s, measured now over \d+ connections?\); .* to fetch \d+ segments/m,
      ])
        assert.match(stdout, line)
    })

    it('to a transaction that no backup is known to precede needs a backup or --scan (I3)', async () => {
      const args = ['restore', '--target-xid', row(5).xid, '--target-dir', workplace.at('never')]
      const { exitCode, stderr } = await pgsluice(args, repository)
      assert.equal(exitCode, 2)
      assert.match(stderr, /no backup is known to lie before[^]*--scan/)
    })

    describe('with forks', () => {
      before(async () => {
        const options = { settings: { ...fromPlain(), ...archiving() } }
        const second = await restore(['--target-time', row(5).time])
        {
          await using cluster = await startRestored(major, second, repository, options)
          rows.set(102, await insert(cluster, 102))
          await archiveWal(cluster, repository)
          rows.set(103, await insert(cluster, 103))
          await archiveWal(cluster, repository)
          backupC = await backUp(cluster, 'c')
          rows.set(104, await insert(cluster, 104))
          await archiveWal(cluster, repository)
        }
        const third = await restore(['--target-timeline', '2', '--target-lsn', row(102).behind])
        {
          await using cluster = await startRestored(major, third, repository, options)
          rows.set(203, await insert(cluster, 203))
          await archiveWal(cluster, repository)
        }
        // ten more promotions of the same server, twelve in all, each after a recovery to the end of the archive
        for (let timeline = 4; timeline <= LAST; timeline++) {
          writeFileSync(path.join(third, 'recovery.signal'), '')
          await giveToServerUser(path.join(third, 'recovery.signal'))
          await using cluster = await startRestored(major, third, repository, {
            settings: {
              ...options.settings,
              recovery_target: '',
              recovery_target_lsn: '',
              recovery_target_timeline: 'latest',
            },
          })
          await insert(cluster, 300 + timeline)
          // a server that shuts down archives what it has
          if (timeline === LAST) await archiveWal(cluster, repository)
          else await cluster.stop('fast')
        }
      })

      const second = [...upTo(5), 102, 103, 104]
      const third = [...upTo(5), 102, 203]
      const promoted = (timeline: number): number[] => upTo(timeline).flatMap((n) => (n > 3 ? [300 + n] : []))
      const forked: { name: string; args: () => string[]; rows: number[]; ours?: boolean }[] = [
        { name: 'timeline 1', args: () => ['--target-timeline', '1'], rows: upTo(7), ours: true },
        { name: 'timeline 2, in hexadecimal', args: () => ['--target-timeline', '0x2'], rows: second, ours: true },
        {
          name: 'timeline 2, as the current one of its backup',
          args: () => [backupC, '--target-timeline', 'current'],
          rows: second,
        },
        { name: 'timeline 2, as all that follows its backup', args: () => [backupC], rows: second, ours: true },
        {
          name: 'a transaction of timeline 2',
          args: () => ['--target-timeline', '2', '--target-xid', row(102).xid, '--scan'],
          rows: [...upTo(5), 102],
        },
        {
          name: 'a time on timeline 1 behind the fork',
          args: () => ['--target-timeline', '1', '--target-time', row(6).time],
          rows: upTo(6),
        },
        {
          name: 'timeline 0xA, as in the name of its history file',
          args: () => ['--target-timeline', '0000000A'],
          rows: [...third, ...promoted(10)],
        },
        {
          name: 'timeline 13',
          args: () => ['--target-timeline', '13'],
          rows: [...third, ...promoted(LAST)],
          ours: true,
        },
        {
          name: 'the latest timeline',
          args: () => ['--target-timeline', 'latest'],
          rows: [...third, ...promoted(LAST)],
        },
        { name: 'an LSN before every fork', args: () => ['--target-lsn', row(4).behind], rows: upTo(4) },
      ]
      for (const { name, args, rows: expected, ours } of forked) {
        it(`to ${name} has just its rows (I8, I9)`, async () => {
          assert.deepEqual(await restoredRows(args(), ours), expected)
        })
      }

      for (const args of [[], ['latest'], ['--target-time', '2100-01-01 00:00+00']]) {
        it(`asks for the timeline where WAL goes on in three places (${args.join(' ') || 'no target'})`, async () => {
          const result = await pgsluice(['restore', ...args, '--target-dir', workplace.at('never')], repository)
          assert.equal(result.exitCode, 4)
          assert.match(
            result.stderr,
            /timelines 1 and 2 and 13 each have WAL after their fork[^]*--target-timeline: 1 .*, 2 .*, 13 /,
          )
          const planned = await pgsluice(['plan', ...args], repository)
          assert.equal(planned.exitCode, 4)
        })
      }

      it('is planned along its timelines, with the places where they were left', async () => {
        const { stdout } = await succeed(['plan', '--target-timeline', '13', '--json'], repository)
        const answer = JSON.parse(stdout) as ReachablePlan
        assert.deepEqual(
          answer.timelines.map(({ timeline }) => timeline),
          upTo(LAST),
        )
        for (const [index, { from }] of answer.timelines.entries())
          if (index > 0) assert.equal(answer.timelines[index - 1]!.to, from)
        assert.equal(answer.timelines.at(-1)!.to, undefined)
      })

      it('to a timeline that left before the named backup ended is refused', async () => {
        await assertUnreachable([backupC, '--target-timeline', '13'], /timeline 13 cannot be reached: backup .* is/)
      })

      it('to a place behind a hole is refused, and to one before it is not (I11)', async () => {
        const key = (await repository.keys()).filter((name) => /\/00000002[0-9A-F]{16}\.zst$/.test(name))[1]!
        const file = path.join(repository.directory, key)
        renameSync(file, workplace.at('kept'))
        makeOld(repository.directory)
        try {
          const says = new RegExp(`"${path.basename(key, '.zst')}" is missing from the archive`)
          await assertUnreachable([backupB, '--target-timeline', '2'], says)
          const args = [backupB, '--target-timeline', '2', '--target-lsn', row(4).behind]
          assert.deepEqual(await restoredRows(args, true), upTo(4))
          const { gap } = JSON.parse((await succeed(['plan', ...args, '--json'], repository)).stdout) as ReachablePlan
          assert.equal(gap?.missing, path.basename(key, '.zst'))
        } finally {
          renameSync(workplace.at('kept'), file)
        }
      })
    })
  })
}
