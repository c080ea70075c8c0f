/** Backups and clusters are found by whatever a person would call them, and what is ambiguous names the candidates. */
import { ToolError } from '#src/errors.js'
import { findBackup, listBackups, type UnreadableBackup } from '#src/repository/catalog.js'
import { findCluster, listClusters } from '#src/repository/clusters.js'
import { claimIdentity, readIdentity } from '#src/repository/identity.js'
import { backupRecordKey, clusterName } from '#src/repository/layout.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { commitRecord } from '../../support/known-repository.js'

const ONE = 7_412_345_678_901_234_567n
const TWO = 7_412_345_678_901_234_568n
const [FIRST, SECOND, THIRD] = ['20260101T000000Z-00000001', '20260102T000000Z-00000002', '20260102T120000Z-00000003']
const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-catalog-'))
let storage: Storage

before(async () => {
  storage = await openStorage({ url: `file://${home}` })
  await commitRecord(storage, { id: FIRST, label: 'nightly', alias: 'main', stopTime: '2026-01-01T01:00:00.000Z' })
  // began before the third, and ended after it
  await commitRecord(storage, { id: SECOND, label: 'nightly', alias: 'main', stopTime: '2026-01-02T20:00:00.000Z' })
  await commitRecord(storage, { id: THIRD, label: '2026', alias: 'main', stopTime: '2026-01-02T13:00:00.000Z' })
  await commitRecord(storage, { id: FIRST, systemIdentifier: TWO, alias: 'other' })
  await storage.put(`${clusterName(18, ONE)}/backups/notes.txt`, Buffer.from('not ours'))
  await storage.put('somebody/else.txt', Buffer.from('not ours'))
})
after(() => {
  storage.close()
  rmSync(home, { recursive: true })
})

const says = (text: RegExp, hint: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ToolError)
  assert.equal(error.code, 'usage')
  assert.match(error.message, text)
  assert.match(error.hint ?? '', hint)
  return true
}

for (const [wanted, found, why] of [
  ['latest', SECOND, 'the one that ended last'],
  [FIRST, FIRST, 'its id'],
  ['20260101', FIRST, 'the unique beginning of its id'],
  ['20260102T12', THIRD, 'the unique beginning of its id'],
  ['nightly', SECOND, 'the newest of that label'],
  ['2026', THIRD, 'its label, although it is the beginning of ids, too'],
] as const) {
  test(`findBackup() finds "${wanted}" by ${why}`, async () => {
    assert.equal((await findBackup(storage, clusterName(18, ONE), wanted, fail)).id, found)
  })
}

for (const [wanted, text, hint] of [
  ['20260102', /"20260102" is the beginning of 2 backups/, new RegExp(`${SECOND}, ${THIRD}`)],
  [
    'weekly',
    /no backup of cluster "pg18-\d+" has the id or label "weekly"/,
    new RegExp(`${FIRST}, ${SECOND}, ${THIRD}`),
  ],
  ['', /is the beginning of 3 backups|has the id or label ""/, new RegExp(THIRD)],
] as const) {
  test(`findBackup() does not guess what "${wanted}" means, and names the candidates`, async () => {
    await assert.rejects(findBackup(storage, clusterName(18, ONE), wanted, fail), says(text, hint))
  })
}

test('listBackups() gives the records of that cluster alone, oldest first', async () => {
  const ids = async (systemIdentifier: bigint): Promise<string[]> =>
    (await listBackups(storage, clusterName(18, systemIdentifier), fail)).map(({ id }) => id)
  assert.deepEqual(await ids(ONE), [FIRST, SECOND, THIRD])
  assert.deepEqual(await ids(TWO), [FIRST])
  assert.deepEqual(await ids(3n), [])
})

/** Every record can be used here. */
function fail({ id, error }: UnreadableBackup): void {
  assert.fail(`backup ${id} cannot be used: ${error.message}`)
}

test('a record that cannot be used hides no other: latest is the newest that can be', async () => {
  const damaged = '20260104T000000Z-00000005'
  const key = backupRecordKey(clusterName(18, ONE), damaged)
  await storage.put(key, Buffer.from('{}'))
  try {
    const told: string[] = []
    const note = ({ id }: UnreadableBackup): unknown => told.push(id)
    assert.equal((await findBackup(storage, clusterName(18, ONE), 'latest', note)).id, SECOND)
    assert.equal((await findBackup(storage, clusterName(18, ONE), 'nightly', note)).id, SECOND)
    assert.deepEqual(told, [damaged, damaged])
    assert.equal((await listBackups(storage, clusterName(18, ONE), note)).length, 3)
    await assert.rejects(findBackup(storage, clusterName(18, ONE), damaged, note), /does not end with its checksum/)
  } finally {
    await storage.delete([key])
  }
})

test('a record under the name of another is damaged (V8)', async () => {
  const copied = '20260103T000000Z-00000004'
  const key = backupRecordKey(clusterName(18, ONE), copied)
  const chunks = await (await storage.get(backupRecordKey(clusterName(18, ONE), FIRST))).toArray()
  await storage.put(key, Buffer.concat(chunks as Buffer[]))
  try {
    await assert.rejects(
      findBackup(storage, clusterName(18, ONE), copied, fail),
      new RegExp(`"${key}" is the record of backup`),
    )
  } finally {
    await storage.delete([key])
  }
})

test('listClusters() skips what is none', async () => {
  const names = (await listClusters(storage)).map(({ name }) => name)
  assert.deepEqual(names, [clusterName(18, ONE), clusterName(18, TWO)])
})

test('findCluster() finds by name and by alias, and says which there are', async () => {
  assert.equal((await findCluster(storage, 'main')).name, clusterName(18, ONE))
  assert.equal((await findCluster(storage, clusterName(18, TWO))).name, clusterName(18, TWO))
  await assert.rejects(
    findCluster(storage, undefined),
    says(/holds 2 clusters/, /pg18-\d+ \(main\), pg18-\d+ \(other\)/),
  )
  await assert.rejects(findCluster(storage, 'third'), says(/no cluster in .* is named "third"/, /\(main\)/))
})

test('claimIdentity() refuses a cluster of other facts under the same name (A14)', async () => {
  const facts = { major: 18, systemIdentifier: ONE, walSegmentSize: 2 ** 20 }
  await assert.rejects(claimIdentity(storage, facts), (error) => error instanceof ToolError && error.code === 'refused')
  assert.equal((await readIdentity(storage, clusterName(18, ONE))).walSegmentSize, 2 ** 24)
})

test('claimIdentity() by two at once gives both the same identity', async () => {
  const facts = { major: 17, systemIdentifier: 5n, walSegmentSize: 2 ** 24 }
  const [a, b] = await Promise.all([claimIdentity(storage, facts), claimIdentity(storage, facts)])
  assert.equal(a.systemIdentifier, b.systemIdentifier)
  assert.equal((await readIdentity(storage, a.name)).postgresMajor, 17)
})
