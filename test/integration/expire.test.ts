/** Retention of a real cluster in a bucket, by the command line: what is kept can be restored, and what is locked is told. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { DropClusterResult } from '#src/commands/drop-cluster.js'
import type { ExpireResult } from '#src/commands/expire-result.js'
import type { GcResult } from '#src/commands/gc.js'
import { documentHead, formatDocument } from '#src/repository/document.js'
import {
  archiveWal,
  nameOf,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, type Cluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'

describe('expire', () => {
  let repository: EndpointRepository
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let source: Cluster
  let name: string

  before(async () => {
    repository = await openEndpointRepository()
    workplace = await openWorkplace()
    source = await startArchivingCluster(repository, { major: availableMajors().at(-1)!, walSegmentSizeMb: 1 })
    name = await nameOf(source)
    await query(source, 'create table rows as select 0 as n')
    for (let n = 1; n <= 2; n++) {
      await query(source, 'insert into rows select $1::int', [n])
      await succeed(['backup', '--label', `b${n}`, '--jobs', '1', '--quiet'], repository, { cluster: source })
    }
    await query(source, 'insert into rows values (3)')
    await archiveWal(source, repository)
  })
  after(async () => {
    await source.destroy()
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  const expire = async (...args: string[]): Promise<ExpireResult> => {
    const { stdout } = await succeed(['expire', '--json', '--keep-full', '1', ...args], repository)
    const result = JSON.parse(stdout) as ExpireResult
    assertValid('expire-result', result)
    return result
  }
  const withoutDeed = ({ deed: _, dryRun: __, ...plan }: ExpireResult): object => plan

  it('of what a backup uses, announced while it ran, makes it fail before its commit', async () => {
    const key = `${name}/retired/20260101T000000.000Z.json`
    const wal = [{ timeline: 1, first: '000000010000000000000001', last: '0000000100000000000000FF' }]
    const retired = { by: 'expire', time: '2026-01-01T00:00:00.000Z', backups: [], folders: [], wal }
    await repository.set(key, Buffer.from(formatDocument({ ...documentHead(), ...retired })))
    const { exitCode, stderr } = await pgsluice(['backup', '--jobs', '1', '--quiet'], repository, { cluster: source })
    repository.delete(key)
    await source.stop()
    assert.equal(exitCode, 4, stderr)
    assert.match(stderr, /cannot be committed: ".*" announces that WAL segment "[0-9A-F]{24}" is deleted/)
    assert.equal((await repository.keys()).filter((each) => each.includes('/backups/')).length, 2)
  })

  it('asks what to keep, and takes a policy from the environment', async () => {
    const { exitCode, stderr } = await pgsluice(['expire'], repository)
    assert.equal(exitCode, 2, stderr)
    assert.match(stderr, /nothing says which backups to keep\n.*--keep-full, --keep-days/s)
    const env = { ...repository.env, PGSLUICE_KEEP_DAYS: '7' }
    const { stdout } = await succeed(['expire', '--dry-run'], { ...repository, env })
    assert.match(stdout, /keep +\S+ +b1 .*of the last 7 days/)
    assert.match(stdout, /dry run: nothing was changed/)
  })

  it('counts what the store will not let go, and ends with 3', async () => {
    repository.endpoint.fault({ match: ({ operation }) => operation === 'DeleteObjects', action: 'deny-each-key' })
    const { exitCode, stdout } = await pgsluice(['expire', '--keep-full', '1', '--grace', '0s'], repository)
    repository.endpoint.clearFaults()
    assert.equal(exitCode, 3, stdout)
    assert.match(stdout, /NOT DELETED: [1-9]\d* objects\n.*AccessDenied/s)
    assert.equal((await repository.keys()).filter((key) => key.includes('/backups/')).length, 2)
  })

  it('leaves one backup of two, and it recovers to the end of the WAL', async () => {
    const planned = await expire('--grace', '0s', '--dry-run')
    const before = await repository.keys()
    const done = await expire('--grace', '0s')
    assert.deepEqual(withoutDeed(done), withoutDeed(planned))
    assert.deepEqual(
      done.backups.map(({ label, action }) => `${label} ${action}`),
      ['b1 expire', 'b2 keep'],
    )
    const gone = before.length + (done.deed?.announcement ? 1 : 0) - (await repository.keys()).length
    assert.equal(gone, done.deed?.deletedObjects)
    const first = done.wal.filter(({ action }) => action === 'delete').reduce((sum, { files }) => sum + files, 0)
    assert.ok(first > 0, 'WAL before the oldest backup that is kept')

    await succeed(['wal', 'list'], repository)
    const directory = workplace.at('restored')
    await succeed(['restore', 'b2', '--target-dir', directory], repository)
    await using restored = await startRestored(source.major, directory, repository)
    const rows = await query<{ n: number }>(restored, 'select n from rows order by n')
    assert.deepEqual(
      rows.map(({ n }) => n),
      [0, 1, 2, 3],
    )
    assert.deepEqual((await expire()).deed?.deletedObjects, 0)
  })

  it('gc takes what the failed backup left and nothing else, and drop-cluster leaves nothing at all', async () => {
    const before = await repository.keys()
    const gc = JSON.parse((await succeed(['gc', '--grace', '0s', '--json'], repository)).stdout) as GcResult
    assertValid('gc-result', gc)
    const [left] = gc.folders
    assert.deepEqual(
      gc.folders.map(({ folder, id }) => `${folder} ${id}`),
      [`base ${left?.id}`, `running ${left?.id}`],
    )
    const keys = await repository.keys()
    const gone = before.filter((key) => !keys.includes(key))
    assert.ok(gone.length > 5 && gone.every((key) => key.includes(`/${left?.id}/`)), gone.join('\n'))

    const refused = await pgsluice(['drop-cluster', name, '--yes'], repository)
    assert.equal(refused.exitCode, 4, refused.stderr)
    assert.match(refused.stderr, /WAL of timeline 1 was archived at/)
    const alias = await pgsluice(['drop-cluster', 'main', '--yes'], repository)
    assert.equal(alias.exitCode, 2, alias.stderr)
    const { stdout } = await succeed(['drop-cluster', name, '--yes', '--force', '--json'], repository)
    assertValid('drop-cluster-result', JSON.parse(stdout) as DropClusterResult)
    assert.deepEqual(
      (await repository.keys()).filter((key) => key.startsWith(name)),
      [],
    )
  })
})
