/**
 * A backup whose WAL does not come in time fails, is kept, and becomes a backup once its WAL is archived (E6); and what
 * has been lost or damaged meanwhile, or is somebody else's, never becomes one.
 */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import { backup } from '#src/commands/backup.js'
import { finalize } from '#src/commands/finalize.js'
import { list } from '#src/commands/list.js'
import { show } from '#src/commands/show.js'
import { showText } from '#src/cli/show-text.js'
import { makeSettings, type Settings } from '#src/config/settings.js'
import { ToolError, type ErrorCode } from '#src/errors.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { silent, type ReportEvent } from '#src/report.js'
import { formatDocument } from '#src/repository/document.js'
import { claimIdentity } from '#src/repository/identity.js'
import { openStorage } from '#src/storage/open-storage.js'
import { FRONT } from '../support/command-line.js'
import {
  archiveWal,
  nameOf,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, type Cluster } from '../support/postgres.js'
import { useTestCredentials } from '../support/s3-endpoint.js'
import { assertValid } from '../support/schemas.js'

const MAJOR = availableMajors().at(-1)!
const OTHER_ID = '20260101T000000Z-00000001'

describe('a backup whose WAL did not reach the archive in time', () => {
  let repository: Awaited<ReturnType<typeof openEndpointRepository>>
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let cluster: Cluster
  let settings: Settings
  let name: string
  let id: string
  let failure: unknown
  const events: ReportEvent[] = []
  const context = { report: silent, signal: new AbortController().signal }
  /** While it exists, archive_command fails. */
  let outage: string

  before(async () => {
    useTestCredentials()
    repository = await openEndpointRepository()
    workplace = await openWorkplace()
    outage = workplace.at('outage')
    const push = [FRONT, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
    cluster = await startArchivingCluster(repository, {
      major: MAJOR,
      settings: { archive_command: `test ! -e ${quoteShell(outage)} && ${push} "%p"`, autovacuum: 'off' },
    })
    await query(cluster, 'create table kept as select generate_series(1, 1000) as i')
    name = await nameOf(cluster)
    settings = makeSettings({
      ...{ repository: repository.url, endpoint: repository.endpoint.url, region: 'us-east-1', jobs: 1 },
      ...{ dbname: cluster.connectionString, pgdata: cluster.pgdata, 'archive-timeout': '15s' },
    })
    // archiving was proven at the start; it stops before the first byte is copied
    const report = (event: ReportEvent): void => {
      events.push(event)
      if (event.type === 'backup-planned') writeFileSync(outage, '')
    }
    failure = await backup(settings, { label: 'late' }, { ...context, report }).then(
      () => undefined,
      (error: unknown) => error,
    )
    const started = events.find((event) => event.type === 'backup-started')
    id = started?.id ?? ''
  })
  after(async () => {
    await cluster.destroy()
    workplace[Symbol.dispose]()
    await repository[Symbol.asyncDispose]()
  })

  const base = (object: string): string => `${name}/base/${id}/${object}`
  const records = async (): Promise<string[]> => (await repository.keys()).filter((key) => key.includes('/backups/'))
  const documentsOf = async (folder: string): Promise<{ state: string }[]> => {
    const keys = (await repository.keys()).filter((key) => key.startsWith(`${name}/${folder}/${id}/`)).sort()
    return Promise.all(keys.map(async (key) => JSON.parse((await repository.get(key)).toString()) as { state: string }))
  }
  const refusedAs = (code: ErrorCode, says: RegExp) => (error: unknown) => {
    assert.ok(error instanceof ToolError, String(error))
    assert.match(`${error.message} ${error.hint ?? ''}`, says)
    assert.equal(error.code, code)
    return true
  }

  it('fails with a hint how to finish it, and leaves its record and the hashes of its WAL for that', async () => {
    refusedAs(
      'wal-missing',
      new RegExp(`did not reach the archive within 15 s.*"pgsluice backup --finalize ${id}"`),
    )(failure)
    assert.ok(events.some((event) => event.type === 'backup-unfinished' && event.id === id))
    assert.deepEqual(await records(), [])
    const unfinished = JSON.parse((await repository.get(base('unfinished.json'))).toString()) as {
      record: { label: string; start: { segment: string } }
      wal: { name: string }[]
    }
    assertValid('unfinished', unfinished)
    assert.equal(unfinished.record.label, 'late')
    assert.equal(unfinished.wal[0]?.name, unfinished.record.start.segment)
    const beats = await documentsOf('running')
    assert.equal(beats.at(-1)?.state, 'unfinished')
    for (const beat of beats) assertValid('heartbeat', beat)
    const [listed] = await list(settings, {}, context)
    assert.deepEqual(listed?.inProgress, [{ id, state: 'unfinished' }])
    assert.deepEqual(listed.backups, [])
  })

  it('is not finished before its WAL is there', async () => {
    const { exitCode, stderr } = await pgsluice(['backup', '--finalize', id], repository)
    assert.equal(exitCode, 3, stderr)
    assert.match(stderr, /WAL segment "[0-9A-F]{24}", which the backup needs, is not in the archive/)
    assert.deepEqual(await records(), [])
    assert.equal((await documentsOf('running')).at(-1)?.state, 'unfinished')
  })

  it('is not finished when anything of it was lost or damaged, or is of another server or cluster', async () => {
    rmSync(outage)
    const last = await archiveWal(cluster, repository)
    const wal = (await repository.keys()).filter((key) => /\/wal\/.*\/[0-9A-F]{24}\.zst$/.test(key))
    const { record } = JSON.parse((await repository.get(base('unfinished.json'))).toString()) as {
      record: { start: { segment: string } }
    }
    const needed = wal.find((key) => key.includes(record.start.segment))!
    const flipped = async (key: string, at: number): Promise<Buffer> => {
      const bytes = Buffer.from(await repository.get(key))
      const place = at < 0 ? bytes.length + at : at
      bytes[place]! ^= 1
      return bytes
    }
    const another = async (change: object): Promise<Buffer> => {
      const { checksum, ...document } = JSON.parse(
        (await repository.get(base('unfinished.json'))).toString(),
      ) as object & {
        checksum?: string
      }
      assert.ok(checksum)
      return Buffer.from(formatDocument({ ...document, ...change }))
    }
    const cases: {
      name: string
      key: string
      bytes: () => Promise<Buffer | undefined>
      code: ErrorCode
      says: RegExp
    }[] = [
      {
        ...{ name: 'an archive is gone', key: base('00000.tar.zst'), bytes: () => Promise.resolve(undefined) },
        ...{ code: 'damaged', says: /"[^"]*00000\.tar\.zst", which the backup needs, is missing.*take a new one/ },
      },
      {
        ...{ name: 'an object was cut', key: base('backup_manifest'), bytes: () => Promise.resolve(Buffer.from('{')) },
        ...{ code: 'damaged', says: /backup_manifest", which the backup needs, has 1 bytes instead of \d+/ },
      },
      {
        ...{ name: 'the index is damaged', key: base('objects.jsonl.zst') },
        ...{ bytes: () => flipped(base('objects.jsonl.zst'), -20), code: 'damaged', says: /objects\.jsonl\.zst/ },
      },
      {
        ...{ name: 'the unfinished record is damaged', key: base('unfinished.json') },
        ...{ bytes: () => flipped(base('unfinished.json'), 200), code: 'damaged', says: /its checksum is wrong/ },
      },
      {
        ...{ name: 'the unfinished record is that of another', key: base('unfinished.json') },
        ...{
          bytes: () => another({ record: { ...record, id: OTHER_ID } }),
          code: 'damaged',
          says: /is of backup "20260101/,
        },
      },
      {
        ...{ name: 'WAL is missing', key: needed, bytes: () => Promise.resolve(undefined) },
        ...{ code: 'wal-missing', says: /which the backup needs, is not in the archive/ },
      },
      {
        ...{ name: 'WAL is damaged in its middle', key: needed, bytes: () => flipped(needed, -6) },
        ...{ code: 'damaged', says: /could not decompress "[^"]*\/wal\// },
      },
      {
        ...{ name: 'the WAL of another server is stored under the name', key: base('unfinished.json') },
        ...{
          bytes: () => another({ wal: [{ name: record.start.segment, sha256: '0'.repeat(64) }] }),
          code: 'conflict',
        },
        says: /the archive holds another server's "[0-9A-F]{24}"/,
      },
      {
        ...{
          name: 'there is no unfinished record',
          key: base('unfinished.json'),
          bytes: () => Promise.resolve(undefined),
        },
        ...{ code: 'usage', says: /there is no unfinished backup ".*pgsluice list/ },
      },
    ]
    assert.ok(last > record.start.segment)
    for (const { name: what, key, bytes, code, says } of cases) {
      const original = await repository.get(key)
      const changed = await bytes()
      if (changed === undefined) repository.delete(key)
      else await repository.set(key, changed)
      try {
        await assert.rejects(finalize(settings, id, context), refusedAs(code, says), what)
      } finally {
        await repository.set(key, original)
      }
      assert.deepEqual(await records(), [], what)
    }
    await assert.rejects(
      finalize(settings, 'late', context),
      refusedAs('usage', /"late" for --finalize: expected the id/),
    )
    const storage = await openStorage({ url: repository.url, endpoint: repository.endpoint.url })
    const other = await claimIdentity(storage, { major: MAJOR, systemIdentifier: 7n, walSegmentSize: 2 ** 24 })
    storage.close()
    await assert.rejects(
      finalize({ ...settings, cluster: other.name }, id, context),
      refusedAs('refused', new RegExp(`backup ${id} is one of cluster "${name}", not of "${other.name}"`)),
    )
    repository.delete(`${other.name}/cluster.json`)
    assert.deepEqual(await records(), [])
  })

  it('is finished without its server, once and for all, and can be restored', async () => {
    await query(cluster, 'insert into kept select generate_series(1001, 2000)')
    await archiveWal(cluster, repository)
    const { stdout } = await succeed(['backup', '--finalize', id, '--json'], repository)
    const result = JSON.parse(stdout.trimEnd().split('\n').at(-1)!) as object
    assertValid('backup-result', result)
    assert.equal((await documentsOf('running')).at(-1)?.state, 'committed')
    assert.deepEqual(await records(), [`${name}/backups/${id}.json`])
    assertValid('backup-record', JSON.parse((await repository.get(`${name}/backups/${id}.json`)).toString()))
    const again = await succeed(['backup', '--finalize', id], repository)
    assert.equal(again.stdout.trim(), id)
    assert.match(again.stderr, /is committed already/)

    const shown = await show(settings, 'late', context)
    assertValid('show-result', shown)
    assert.equal(shown.wal.storedSegments, shown.wal.segments)
    const text = showText(shown)
    assert.match(text, /^archives +\d+, [\d.]+ [KM]iB with \d+ members$/m)
    assert.match(text, /^WAL +\d segments?, [\d.]+ MiB, .* stored$/m)
    assert.match(text, /^proof +nobody has verified it yet$/m)

    const target = workplace.at('restored')
    await succeed(['restore', 'late', '--target-dir', target], repository)
    await using restored = await startRestored(MAJOR, target, repository)
    assert.deepEqual(await query(restored, 'select count(*)::int as rows from kept'), [{ rows: 2000 }])
  })
})
