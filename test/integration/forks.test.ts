/**
 * A copy of a server that archives into its source's repository (A12): `check` warns of it, `list` names both heads, and
 * `status` of the source goes on telling the source's own instant (format rule 9).
 */
import assert from 'node:assert/strict'
import { appendFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Finding } from '#src/commands/findings.js'
import type { ClusterBackups } from '#src/commands/list.js'
import type { Status } from '#src/commands/status.js'
import { parseLsn } from '#src/postgres/lsn.js'
import { whyNoCommandLine } from '../support/command-line.js'
import {
  archiveWal,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
} from '../support/pgsluice.js'
import { startRestored, succeed, type EndpointRepository } from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'
import { runAsServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

describe('a copy that archives into the repository of its source', { skip: obstacle ?? false }, () => {
  const major = availableMajors().at(-1)!
  let repository: EndpointRepository
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let source: Cluster
  let copy: Cluster | undefined

  before(async () => {
    repository = await openEndpointRepository()
    workplace = await openWorkplace()
    source = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1, settings: { autovacuum: 'off' } })
    await succeed(['backup', '--label', 'before'], repository, { cluster: source })
    await archiveWal(source, repository)
  })
  after(async () => {
    await copy?.destroy()
    await source.destroy()
    workplace[Symbol.dispose]()
    await repository[Symbol.asyncDispose]()
  })

  const warnings = async (cluster: Cluster): Promise<{ ready: boolean; others: Finding[] }> => {
    const { stdout } = await succeed(['check', '--json'], repository, { cluster })
    const answer = JSON.parse(stdout) as { ready: boolean; findings: Finding[] }
    assertValid('check-result', answer)
    const others = answer.findings.filter(({ message }) => message.startsWith('another server'))
    return { ready: answer.ready, others }
  }
  const list = async (): Promise<ClusterBackups> => {
    const answer = JSON.parse((await succeed(['list', '--json'], repository)).stdout) as { clusters: ClusterBackups[] }
    assertValid('list-result', answer)
    return answer.clusters[0]!
  }
  const statusOf = async (cluster: Cluster): Promise<Status> => {
    const { stdout } = await succeed(['status', '--json'], repository, { cluster })
    return JSON.parse(stdout) as Status
  }

  it('is not warned of while there is none', async () => {
    const { ready, others } = await warnings(source)
    assert.deepEqual([ready, others], [true, []])
    assert.deepEqual(
      (await list()).heads.map(({ timeline }) => timeline),
      [1],
    )
    const { stdout } = await succeed(['list'], repository)
    assert.doesNotMatch(stdout, /TIMELINE|--target-timeline/)
  })

  it('is nothing to warn of where it went on and its source did not', async () => {
    // a failover: what was the source is gone, and its successor is the only head
    const directory = workplace.at('copy')
    await source.stop()
    assert.equal((await runAsServerUser('cp', ['-Rp', source.pgdata, directory])).exitCode, 0)
    assert.equal((await runAsServerUser('touch', [path.join(directory, 'recovery.signal')])).exitCode, 0)
    // its archive_command is the source's; the archive has nothing behind what it was copied with
    appendFileSync(path.join(directory, 'postgresql.conf'), `restore_command = 'false'\n`)
    {
      await using hindered = await startRestored(major, directory, repository, {
        settings: { archive_command: 'false' },
      })
      const { exitCode, stdout } = await pgsluice(['status', '--json'], repository, { cluster: hindered })
      const { problems, timeline, lag } = JSON.parse(stdout) as Status
      assert.deepEqual([exitCode, timeline, lag], [1, 2, undefined])
      assert.match(problems.at(-1)!.message, /^the server is on timeline 2, whose history file is not in the archive/)
    }
    copy = await startCluster({ major, directory, env: repository.env })
    await query(copy, 'create table on_copy as select 1 as i')
    await archiveWal(copy, repository)
    assert.deepEqual((await warnings(copy)).others, [])
    assert.deepEqual(
      (await list()).heads.map(({ timeline }) => timeline),
      [2],
    )
  })

  it('is warned of, on both sides, once both go on', async () => {
    await source.start()
    await query(source, 'create table on_source as select 1 as i')
    const last = { source: await archiveWal(source, repository), copy: await archiveWal(copy!, repository) }
    const onSource = await warnings(source)
    assert.equal(onSource.ready, true)
    assert.equal(onSource.others.length, 1)
    const [{ result, about, message, hint }] = onSource.others as [Finding]
    assert.deepEqual([result, about], ['warning', 'archiving'])
    const left = '[0-9A-F]+/[0-9A-F]+'
    assert.match(
      message,
      new RegExp(
        `this one is on timeline 1, .* timeline 2, which left timeline 1 at ${left}, .*"${last.copy}" stored at 20`,
      ),
    )
    assert.match(hint!, /a repository of its own, or set archive_mode = off .* --target-timeline 1\.$/)
    const onCopy = await warnings(copy!)
    assert.match(onCopy.others[0]!.message, new RegExp(`timeline 1, which has WAL after timeline 2 left it at ${left}`))
    assert.match(onCopy.others[0]!.hint!, /--target-timeline 2\.$/)
    const { stdout } = await succeed(['check'], repository, { cluster: source })
    assert.match(stdout, /^warning {2}archiving: another server .*\n +HINT: If that server is a copy, /m)
  })

  it('is not told that it can be recovered to what its source wrote behind the fork', async () => {
    const { lsn } = (await statusOf(copy!)).recoverable!
    const fork = / left it at ([0-9A-F]+\/[0-9A-F]+)$/.exec((await list()).heads[0]!.description)![1]!
    const own = (await repository.keys()).filter((key) => /\/00000002[0-9A-F]{16}\.zst$/.test(key))
    const objects = new Map<string, Buffer>()
    for (const key of own) objects.set(key, await repository.get(key))
    for (const key of own) repository.delete(key)
    try {
      // the segment with the fork is there, but only as the source filled it
      const { stdout } = await pgsluice(['status', '--json'], repository, { cluster: copy! })
      const { recoverable, lag } = JSON.parse(stdout) as Status
      assert.equal(lag?.archivedLsn, fork)
      assert.ok(parseLsn(recoverable!.lsn) < parseLsn(fork))
      assert.ok(parseLsn(recoverable!.lsn) < parseLsn(lsn))
      assert.ok(lag.segments >= 1)
    } finally {
      for (const [key, bytes] of objects) await repository.set(key, bytes)
    }
  })

  it('is named by list, with the timeline of each backup', async () => {
    const { heads } = await list()
    assert.deepEqual(
      heads.map(({ timeline }) => timeline),
      [1, 2],
    )
    for (const { last, lastStored } of heads) assert.ok(last !== undefined && lastStored !== undefined)
    const one = await succeed(['list'], repository)
    assert.match(
      one.stdout,
      /2 timelines end with WAL of their own, .*--target-timeline\n {2}timeline 1, .*\n {4}last 0/,
    )
    assert.doesNotMatch(one.stdout, /TIMELINE/)
    await succeed(['backup', '--label', 'on copy'], repository, { cluster: copy! })
    const two = await succeed(['list'], repository)
    assert.match(two.stdout, / PAGES +TIMELINE +PROOF\n.* before .* ok +1 +-\n.* on copy .* ok +2 +-\n/)
  })

  it('does not change what the status of its source says', async () => {
    await query(source, 'create table on_source_again as select 1 as i')
    const earlier = await statusOf(source)
    await archiveWal(source, repository)
    await query(copy!, 'create table on_copy_again as select 1 as i')
    await archiveWal(copy!, repository)
    const [onSource, onCopy] = [await statusOf(source), await statusOf(copy!)]
    assert.deepEqual([onSource.timeline, onSource.backup?.label], [1, 'before'])
    assert.deepEqual([onCopy.timeline, onCopy.backup?.label], [2, 'on copy'])
    assert.ok(earlier.recoverable!.time < onSource.recoverable!.time)
    assert.ok(onSource.recoverable!.time < onCopy.recoverable!.time)
    assert.deepEqual([onSource.lag?.seconds, onCopy.lag?.seconds], [0, 0])
    const named = onSource.heads.map(({ timeline }) => timeline)
    assert.deepEqual(named, [1, 2])
    const text = await succeed(['status'], repository, { cluster: source })
    assert.match(text.stdout, /^ok: .*\n[^]*2 timelines end with WAL of their own/)
  })

  it('leaves a status without the server with nothing to go by', async () => {
    const { exitCode, stdout } = await pgsluice(['status', '--offline', '--json'], repository)
    const answer = JSON.parse(stdout) as Status
    assertValid('status-result', answer)
    assert.equal(exitCode, 1)
    assert.deepEqual([answer.timeline, answer.recoverable], [undefined, undefined])
    assert.match(answer.problems[0]!.message, /^timelines 1 and 2 have WAL of their own, and without the server/)
  })
})
