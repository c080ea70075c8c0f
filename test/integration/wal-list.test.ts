/**
 * `wal list` of a real archive: a cluster that is lost in the middle of its work, and goes on from its backup on timeline 2.
 * What is missing counts only where a backup needs it (I11, V6).
 */
import assert from 'node:assert/strict'
import { copyFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { ClusterWal } from '#src/commands/wal-list.js'
import { formatLsn, parseLsn } from '#src/postgres/lsn.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
import { FRONT, type CommandResult } from '../support/command-line.js'
import {
  archiveWal,
  awaitAllArchived,
  makeOld,
  openDirectoryRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, type Cluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'
import { waitUntil } from '../support/wait.js'

const MAJOR = availableMajors().at(-1)!
const MiB = 1024 * 1024

describe('wal list', () => {
  let repository: Awaited<ReturnType<typeof openDirectoryRepository>>
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let backups: [BackupRecord, BackupRecord]
  /** Before the first backup. */
  let early: string

  before(async () => {
    workplace = await openWorkplace()
    repository = await openDirectoryRepository()
    const records: BackupRecord[] = []
    const backUp = async (cluster: Cluster, label: string): Promise<void> => {
      const { lines } = await succeed(['backup', '--json', '--label', label], repository, { cluster })
      const last = lines.at(-1)
      assert.ok(last?.type === 'result')
      records.push(last.backup as unknown as BackupRecord)
    }
    {
      await using first = await startArchivingCluster(repository, { major: MAJOR, walSegmentSizeMb: 1 })
      early = await archiveWal(first, repository)
      await backUp(first, 'first')
      // segments that end in the middle of a record, as they do when nothing ends them before
      await query(first, 'create table t (t text)')
      await waitUntil('segments to be filled', async () => {
        await query(first, `insert into t select repeat(md5(i::text), 40) from generate_series(1, 200) i`)
        const stop = records[0]!.stop.segment
        return (await segmentsOf(1)).filter((name) => name > stop).length >= 4
      })
      // one run stores several at a time: what is cut off between two of them would be a gap for ever
      await awaitAllArchived(first)
      await first.stop('immediate')
    }
    const target = workplace.at('second')
    await succeed(['restore', '--target-dir', target], repository)
    const archive_command = `'${FRONT}' --node '${process.execPath}' push "%p" --repository ${repository.url}`
    await using second = await startRestored(MAJOR, target, repository, {
      settings: { archive_mode: 'on', archive_command },
    })
    await archiveWal(second, repository)
    await backUp(second, 'second')
    await archiveWal(second, repository)
    backups = records as [BackupRecord, BackupRecord]
    makeOld(repository.directory)
  })
  after(async () => {
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  /** Names of the whole segments of a timeline. */
  async function segmentsOf(timeline: number): Promise<string[]> {
    const names = (await repository.keys()).map((key) => path.basename(key, '.zst'))
    return names
      .filter((name) => /^[0-9A-F]{24}$/.test(name) && Number.parseInt(name.slice(0, 8), 16) === timeline)
      .sort()
  }

  function fileOf(name: string): string {
    const folder = name.endsWith('.history') ? '' : `${name.slice(0, 8)}/${name.slice(8, 16)}/`
    return path.join(repository.directory, backups[0].cluster, 'wal', `${folder}${name}.zst`)
  }

  async function listJson(expected: number): Promise<ClusterWal> {
    const { exitCode, stdout, stderr } = await pgsluice(['wal', 'list', '--json'], repository)
    assert.equal(exitCode, expected, stdout + stderr)
    const document = JSON.parse(stdout) as { clusters: ClusterWal[] }
    assertValid('wal-list-result', document)
    assert.equal(document.clusters.length, 1)
    return document.clusters[0]!
  }

  const listText = (): Promise<CommandResult> => pgsluice(['wal', 'list', '--cluster', backups[0].cluster], repository)

  it('tells timelines, ranges and backups, and one head after a recovery (rule 9)', async () => {
    const wal = await listJson(0)
    assert.equal(wal.isDamaged, false)
    assert.deepEqual(
      wal.timelines.map(({ timeline, parent, history, gaps }) => ({ timeline, parent, history, gaps })),
      [
        { timeline: 1, parent: undefined, history: 'none', gaps: [] },
        { timeline: 2, parent: 1, history: 'stored', gaps: [] },
      ],
    )
    const [one, two] = [await segmentsOf(1), await segmentsOf(2)]
    for (const [index, names] of [one, two].entries()) {
      const [range, ...more] = wal.timelines[index]!.ranges
      assert.deepEqual(more, [])
      assert.deepEqual([range!.first, range!.last, range!.segments], [names[0], names.at(-1), names.length])
      assert.equal(parseLsn(range!.endLsn) - parseLsn(range!.beginLsn), BigInt(names.length * MiB))
      assert.equal(formatLsn(BigInt(Number.parseInt(names[0]!.slice(8), 16)) * BigInt(MiB)), range!.beginLsn)
      // pushed ahead, the first segment may be stored after the second
      const times = names.map((name) => statSync(fileOf(name)).mtime.toISOString()).sort()
      assert.deepEqual([range!.firstStored, range!.lastStored], [times[0], times.at(-1)])
      assert.equal(
        range!.storedBytes,
        names.reduce((sum, name) => sum + statSync(fileOf(name)).size, 0),
      )
    }
    // Recovery ended before half a record: in the last segment of the old timeline, which is stored whole all the same.
    const begin = parseLsn(wal.timelines[1]!.begin!)
    assert.equal((begin - 1n) / BigInt(MiB), BigInt(Number.parseInt(one.at(-1)!.slice(8), 16)))
    assert.deepEqual(
      wal.heads.map(({ timeline, last }) => [timeline, last]),
      [[2, two.at(-1)]],
    )
    assert.deepEqual(
      wal.backups.map(({ id, timeline, first, last, gaps }) => ({ id, timeline, first, last, gaps })),
      backups.map(({ id, start, stop }) => {
        return { id, timeline: start.timeline, first: start.segment, last: stop.segment, gaps: [] }
      }),
    )
  })

  it('prints tables that fit into 100 columns', async () => {
    const { exitCode, stdout, stderr } = await listText()
    assert.deepEqual([exitCode, stderr], [0, ''])
    const lines = stdout.split('\n')
    assert.deepEqual(
      lines.filter((line) => line.length > 100),
      [],
    )
    const [one, two] = [await segmentsOf(1), await segmentsOf(2)]
    assert.match(stdout, /^timeline 1: no history file$/m)
    assert.match(stdout, /^timeline 2: left timeline 1 at [0-9A-F]+\/[0-9A-F]+, history file stored$/m)
    for (const names of [one, two])
      assert.match(stdout, new RegExp(`^stored +${names[0]} +${names.at(-1)} +${names.length} +[0-9.]+ [KM]iB$`, 'm'))
    for (const { id, start, stop } of backups)
      assert.match(stdout, new RegExp(`^${id} +${start.segment} +${stop.segment} +ok$`, 'm'))
    assert.doesNotMatch(stdout, /--target-timeline|missing/)
  })

  interface Case {
    name: string
    /** Names of WAL files that are not there. */
    lost: () => Promise<(string | undefined)[]>
    exitCode: number
    /** Where exitCode is 1: labels of the backups that suffer. */
    suffers?: string[]
    says: RegExp
  }
  const cases: Case[] = [
    {
      name: 'a segment before the oldest backup is no loss',
      lost: () => Promise.resolve([early]),
      exitCode: 0,
      says: /^stored/m,
    },
    {
      name: 'a segment that a backup needs',
      lost: () => Promise.resolve([backups[0].stop.segment]),
      exitCode: 1,
      suffers: ['first'],
      says: /DAMAGED: backup \S+ cannot be restored: "[0-9A-F]{24}" is missing/,
    },
    {
      name: 'a segment between a backup and the switch',
      lost: async () => [(await segmentsOf(1)).at(-2)],
      exitCode: 1,
      suffers: ['first'],
      says: /GAP: recovery of backup \S+ along timeline 2 ends\n {2}before "0{7}1[0-9A-F]{16}", which is missing: "0{7}2[0-9A-F]{16}" is there/,
    },
    {
      name: 'the segment of the switch on the new timeline, for which the old one’s cannot stand in',
      lost: async () => [(await segmentsOf(2))[0]],
      exitCode: 1,
      suffers: ['first'],
      says: /ends\n {2}before "0{7}2[0-9A-F]{16}", which is missing: "0{7}2[0-9A-F]{16}" is there/,
    },
    {
      name: 'the segments that the newest backup needs',
      lost: () => Promise.resolve([backups[1].start.segment]),
      exitCode: 1,
      suffers: ['first', 'second'],
      says: /DAMAGED: backup/,
    },
    {
      name: 'the newest segment, without which the archive ends earlier',
      lost: async () => [(await segmentsOf(2)).at(-1)],
      exitCode: 0,
      says: /^stored/m,
    },
  ]
  for (const { name, lost, exitCode, suffers = [], says } of cases) {
    it(`exits with ${exitCode}: ${name} (I11)`, async () => {
      const files = (await lost()).map((each) => fileOf(each!))
      for (const file of files) renameSync(file, workplace.at(path.basename(file)))
      try {
        const text = await listText()
        assert.equal(text.exitCode, exitCode, text.stdout + text.stderr)
        assert.match(text.stdout, says)
        assert.ok(text.stdout.split('\n').every((line) => line.length <= 100))
        const wal = await listJson(exitCode)
        const labels = wal.backups.filter(({ missing, gaps }) => missing ?? gaps.length > 0).map(({ label }) => label)
        assert.deepEqual(labels, suffers)
      } finally {
        for (const file of files) renameSync(workplace.at(path.basename(file)), file)
      }
    })
  }

  it('names both heads where the old timeline went on, and asks for --target-timeline (rule 9)', async () => {
    const last = (await segmentsOf(1)).at(-1)!
    const next =
      last.slice(0, 16) + (Number.parseInt(last.slice(16), 16) + 1).toString(16).toUpperCase().padStart(8, '0')
    copyFileSync(fileOf(last), fileOf(next))
    try {
      const { exitCode, stdout } = await listText()
      assert.equal(exitCode, 0)
      assert.match(stdout, /^2 timelines end with WAL of their own, .*: recovery needs --target-timeline$/m)
      assert.match(stdout, /^ {2}timeline 1, which has WAL after timeline 2 left it at /m)
      assert.match(stdout, /^ {2}timeline 2, which left timeline 1 at /m)
      assert.deepEqual(
        (await listJson(0)).heads.map(({ timeline }) => timeline),
        [1, 2],
      )
    } finally {
      rmSync(fileOf(next))
    }
  })

  it('exits with 3 where a history cannot be read: nobody knows whether something is missing', async () => {
    const file = fileOf('00000002.history')
    const kept = workplace.at('kept')
    copyFileSync(file, kept)
    writeFileSync(file, 'not a WAL object')
    try {
      const { exitCode, stdout } = await listText()
      assert.equal(exitCode, 3)
      assert.match(stdout, /^timeline 2: history file unreadable$/m)
      assert.match(stdout, /^UNUSABLE: timeline 2: /m)
      assert.equal((await listJson(3)).timelines[1]!.history, 'unreadable')
    } finally {
      copyFileSync(kept, file)
    }
  })
})
