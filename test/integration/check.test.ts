/**
 * `check` on a real server: what it says to paste is pasted, and then the answer is yes; and what it says of the backups
 * and the WAL that are there.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { backup } from '#src/commands/backup.js'
import { check } from '#src/commands/check.js'
import type { Finding } from '#src/commands/findings.js'
import { makeSettings, type Settings } from '#src/config/settings.js'
import { silent } from '#src/report.js'
import { formatDocument } from '#src/repository/document.js'
import { archiveWal, BUCKET, nameOf, openEndpointRepository, startArchivingCluster } from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, type Cluster } from '../support/postgres.js'
import { useTestCredentials } from '../support/s3-endpoint.js'
import { assertValid } from '../support/schemas.js'

const MAJOR = availableMajors().at(-1)!

describe('check', () => {
  const context = { report: silent, signal: new AbortController().signal }
  let repository: Awaited<ReturnType<typeof openEndpointRepository>>
  let cluster: Cluster
  let settings: Settings

  before(async () => {
    useTestCredentials()
    repository = await openEndpointRepository()
    cluster = await startArchivingCluster(repository, { major: MAJOR })
    await query(cluster, 'create role "the backup" login')
    const url = new URL(cluster.connectionString.replace('@/', '@host/'))
    url.username = 'the backup'
    settings = makeSettings({
      ...{ repository: repository.url, endpoint: repository.endpoint.url, region: 'us-east-1', jobs: 1 },
      dbname: url.href.replace('@host/', '@/'),
    })
  })
  after(async () => {
    await cluster.destroy()
    await repository[Symbol.asyncDispose]()
  })

  const checked = async (): Promise<{ ready: boolean; findings: Finding[] }> => {
    const answer = await check(settings, context)
    assertValid('check-result', answer)
    assert.ok(answer.speed && answer.speed.writeBytesPerSecond > 0)
    return answer
  }
  const lines = (findings: readonly Finding[]): string =>
    findings.map(({ about, result, message }) => `${result} ${about}: ${message}`).join('\n')

  it('names every privilege that the role lacks with its GRANT, which can be pasted as it is (P5)', async () => {
    const { ready, findings } = await checked()
    assert.equal(ready, false)
    const grants = findings.filter(({ hint }) => hint?.startsWith('GRANT '))
    assert.deepEqual(
      grants.map(({ result, message }) => `${result} ${message}`),
      [
        'failure the role "the backup" may not execute pg_backup_start(text, boolean)',
        'failure the role "the backup" may not execute pg_backup_stop(boolean)',
        'warning the role "the backup" may not execute pg_switch_wal()',
        'warning the role "the backup" may not see data_directory and the configuration files',
        'warning the way of WAL into the repository was not tried: the role may not switch WAL',
      ],
    )
    for (const { hint = '' } of grants) await query(cluster, hint)
  })

  it('is ready then, and tells of the server, the bucket, the way of WAL, and that there is no backup yet', async () => {
    const { ready, findings } = await checked()
    assert.equal(ready, true, lines(findings))
    for (const line of [
      /^ok server: the role "the backup" may do all that backups need in "postgres"$/m,
      /^ok server: WAL archiving is switched on: wal_level replica, archive_mode on, archive_command "/m,
      /^warning server: archive_timeout is 0/m,
      /^ok server: data checksums are on/m,
      /^ok repository: bucket "backups" in region us-east-1, asked with access key …test$/m,
      /^ok repository: versioning is off/m,
      /^ok repository: object lock is off$/m,
      /^warning repository: objects are not encrypted at rest$/m,
      /^warning repository: no lifecycle rule aborts unfinished uploads/m,
      /^ok repository: the clocks of this host and of the store agree$/m,
      /^ok repository: a small read takes [\d.]+ ms; one object of 8 MiB was written at [\d.]+ MiB\/s, read at/m,
      /^ok repository: cluster pg\d+-\d+, in format 1\.0$/m,
      /^ok archiving: "[0-9A-F]{24}" was switched and reached the repository in/m,
      /^ok repository: there is no backup yet: take one with "pgsluice backup"$/m,
    ]) {
      assert.match(lines(findings), line)
    }
    assert.ok(!(await repository.keys()).some((key) => key.startsWith('probe/')))
  })

  it('tells the age of the newest backup, the first gap behind it, and a clock that is wrong', async () => {
    // as a database host should be: it may create, and not delete
    repository.endpoint.weaknesses.noDelete = true
    const { id } = await backup(settings, {}, context)
    const lost = await archiveWal(cluster, repository)
    await archiveWal(cluster, repository)
    const careful = await checked()
    assert.equal(careful.ready, true)
    repository.endpoint.weaknesses.noDelete = false
    const whole = lines(careful.findings)
    assert.match(whole, /^warning repository: objects cannot be deleted: retention has to run elsewhere/m)
    assert.match(whole, new RegExp(`^ok repository: the newest backup, ${id}, is 0 h old$`, 'm'))
    assert.match(whole, /^ok repository: the WAL behind it is in the archive without a gap, up to [0-9A-F]{24}$/m)

    const name = await nameOf(cluster)
    repository.delete(`${name}/wal/${lost.slice(0, 8)}/${lost.slice(8, 16)}/${lost}.zst`)
    repository.endpoint.makeOld(BUCKET)
    repository.endpoint.weaknesses.clockAheadMs = 120_000
    const key = `${name}/backups/${id}.json`
    const record = JSON.parse((await repository.get(key)).toString()) as { stop: object; checksum?: string }
    delete record.checksum
    const time = new Date(Date.now() - 9 * 86_400_000).toISOString()
    await repository.set(key, Buffer.from(formatDocument({ ...record, stop: { ...record.stop, time } })))
    const { ready, findings } = await checked()
    assert.equal(ready, true, lines(findings))
    const text = lines(findings)
    assert.match(text, /^warning repository: the clock of this host is 1[12]\d s behind that of the store$/m)
    assert.match(text, new RegExp(`^warning repository: the newest backup, ${id}, is 9 d old$`, 'm'))
    assert.match(text, new RegExp(`^warning repository: WAL segment "${lost}" is missing behind it`, 'm'))
  })

  it('is not ready where archive_command stores nothing here, though the server believes it (S11)', async () => {
    await query(cluster, `alter system set archive_command = '/bin/true'`)
    await query(cluster, 'select pg_reload_conf()')
    const { ready, findings } = await checked()
    assert.equal(ready, false)
    const found = findings.find(({ about, result }) => about === 'archiving' && result === 'failure')
    assert.match(found?.message ?? '', /^the server says that it archived "[0-9A-F]{24}", but it is not in "s3:/)
    assert.match(found?.hint ?? '', /^archive_command writes to another repository, or to none/)
  })
})
