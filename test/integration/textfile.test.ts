/** `--textfile` of real runs, good and bad: what a monitoring system would read after each. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { readExposition } from '#src/cli/prometheus-reader.js'
import { whyNoCommandLine } from '../support/command-line.js'
import {
  nameOf,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startPgsluice,
  succeed,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import type { Cluster } from '../support/postgres.js'
import { requireMetricsReader } from '../support/prometheus-reader.js'
import { giveToServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

describe('--textfile', { skip: obstacle ?? false }, () => {
  let repository: EndpointRepository
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let cluster: Cluster
  let name: string
  let directory: string

  before(async () => {
    repository = await openEndpointRepository()
    workplace = await openWorkplace()
    directory = workplace.at('textfiles')
    mkdirSync(directory)
    await giveToServerUser(directory)
    cluster = await startArchivingCluster(repository, { major: availableMajors().at(-1)!, walSegmentSizeMb: 1 })
    name = await nameOf(cluster)
  })
  after(async () => {
    await cluster.destroy()
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  const fileOf = (job: string): string => path.join(directory, `pgsluice_${job}.prom`)
  const BACKUP = (): string[] => ['backup', '--jobs', '1', '--quiet', '--textfile', fileOf('backup')]

  /** What a file says, as [value, cluster] by the name of the metric. */
  function told(job: string): Map<string, readonly [number | undefined, string | undefined]> {
    const text = readFileSync(fileOf(job), 'utf8')
    const gauges = readExposition(text) ?? assert.fail(text)
    return new Map(
      gauges.map(({ name: metric, samples }) => {
        assert.deepEqual([samples.length, samples[0]?.labels['file']], [1, `pgsluice_${job}`])
        return [metric.replace('pgsluice_', ''), [samples[0]?.value, samples[0]?.labels['cluster']]]
      }),
    )
  }

  it('is written by a run that fails before it has settings, a server, or a cluster', async () => {
    const wrong = await pgsluice(BACKUP(), repository, { cluster, env: { PGSLUICE_MEMORY: 'much' } })
    assert.equal(wrong.exitCode, 2, wrong.stderr)
    assert.deepEqual(told('backup').get('backup_last_run_exit_code'), [2, undefined])
    const serverless = await pgsluice(BACKUP(), repository, { cluster, env: { PGHOST: '/nowhere' } })
    assert.equal(serverless.exitCode, 3, serverless.stderr)
    assert.deepEqual(told('backup').get('backup_last_run_exit_code'), [3, undefined])
    assert.equal(told('backup').has('backup_last_success_timestamp_seconds'), false)
  })

  it('of a bad name or an unwritable directory stops the run before anything is done', async () => {
    const closed = workplace.at('closed')
    mkdirSync(closed)
    await giveToServerUser(closed)
    chmodSync(closed, 0o555)
    for (const [file, says] of [
      [path.join(directory, 'metrics.txt'), /expected a name that ends in \.prom/],
      [path.join(closed, 'x.prom'), /no file can be made in ".*closed": EACCES/],
    ] as const) {
      const { exitCode, stderr } = await pgsluice(['backup', '--textfile', file], repository, { cluster })
      assert.equal(exitCode, 2, stderr)
      assert.match(stderr, says)
    }
    assert.deepEqual(
      (await repository.keys()).filter((key) => key.includes('/base/')),
      [],
    )
    assert.deepEqual(readdirSync(directory), ['pgsluice_backup.prom'])
  })

  it('of a backup, a verification, an expiry and a status make one directory without a sample that is there twice', async (t) => {
    await succeed(BACKUP(), repository, { cluster })
    await succeed(['verify', '--textfile', fileOf('verify')], repository)
    await succeed(['verify', '--level', 'wal', '--textfile', fileOf('weekly')], repository)
    await succeed(['expire', '--keep-full', '1', '--textfile', fileOf('expire')], repository)
    await succeed(['status', '--textfile', fileOf('status')], repository, { cluster })
    const files = readdirSync(directory)
    assert.deepEqual(
      files.sort(),
      ['backup', 'expire', 'status', 'verify', 'weekly'].map((job) => `pgsluice_${job}.prom`),
    )
    for (const job of ['backup', 'verify', 'weekly', 'expire', 'status']) {
      const command = job === 'weekly' ? 'verify' : job
      assert.equal(told(job).get(`${command}_last_run_exit_code`)?.[0], 0)
      const [success = NaN] = told(job).get(`${command}_last_success_timestamp_seconds`) ?? []
      assert.ok(Math.abs(Date.now() / 1000 - success) < 600)
    }
    assert.deepEqual(told('verify').get('verify_checked_backups'), [1, name])
    assert.deepEqual(told('expire').get('expire_kept_backups'), [1, name])
    assert.deepEqual(told('status').get('status_ok'), [1, name])
    assert.ok(told('backup').get('backup_bytes')![0]! > told('backup').get('backup_stored_bytes')![0]!)
    const all = files.map((file) => readFileSync(path.join(directory, file), 'utf8')).join('')
    const samples = all.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    const names = samples.map((line) => line.replace(/ \S+$/, ''))
    assert.equal(new Set(names).size, names.length, all)

    const read = await requireMetricsReader(t)
    if (!read) return
    const theirs = await read(files.map((file) => path.join(directory, file)))
    assert.deepEqual(
      theirs.map(({ value }) => value),
      samples.map((line) => Number(line.split(' ').at(-1))),
    )
    assert.ok(theirs.every(({ labels }) => labels['file'] && Object.values(labels).every((label) => label !== '')))
  })

  it('keeps the last success when a backup is interrupted, and tells the damage that verify found', async () => {
    const before = told('backup')
    const running = await startPgsluice([...BACKUP().filter((arg) => arg !== '--quiet'), '--json'], repository, {
      cluster,
    })
    await running.waitForEvent('backup-started')
    running.kill('SIGTERM')
    assert.equal((await running.ended).exitCode, 143)
    const now = told('backup')
    assert.deepEqual(now.get('backup_last_run_exit_code'), [143, name])
    for (const metric of ['backup_last_success_timestamp_seconds', 'backup_stored_bytes'])
      assert.deepEqual(now.get(metric), before.get(metric))

    const key = (await repository.keys()).find((each) => each.endsWith('/backup_manifest'))!
    const bytes = await repository.get(key)
    await repository.set(key, Buffer.concat([bytes, Buffer.from('x')]))
    const { exitCode } = await pgsluice(['verify', '--textfile', fileOf('verify')], repository)
    await repository.set(key, bytes)
    assert.equal(exitCode, 1)
    assert.equal(told('verify').get('verify_last_run_exit_code')?.[0], 1)
    assert.ok(told('verify').get('verify_faults')![0]! > 0)
    const [success = NaN] = told('verify').get('verify_last_success_timestamp_seconds') ?? []
    assert.ok(success < told('verify').get('verify_last_run_timestamp_seconds')![0]!)
  })

  it('that cannot be written in the end fails a run that was good, whose result is told all the same', async () => {
    const theirs = 'somebody_elses_metric 1\n'
    repository.endpoint.fault({
      match: ({ operation, key }) => {
        if (operation === 'PutObject' && key.includes('/backups/')) writeFileSync(fileOf('backup'), theirs)
        return false
      },
      action: 'reset',
    })
    const { exitCode, lines, stderr } = await pgsluice([...BACKUP(), '--json'], repository, { cluster })
    repository.endpoint.clearFaults()
    assert.equal(exitCode, 3, stderr)
    assert.match(
      stderr,
      /could not write the textfile ".*pgsluice_backup\.prom": it holds what pgsluice has not written/,
    )
    assert.deepEqual(
      lines.slice(-2).map((line) => [line.type, 'exitCode' in line ? line.exitCode : undefined]),
      [
        ['result', undefined],
        ['error', 3],
      ],
    )
    assert.equal(readFileSync(fileOf('backup'), 'utf8'), theirs)
    assert.equal((await repository.keys()).filter((each) => each.includes('/backups/')).length, 2)
  })
})
