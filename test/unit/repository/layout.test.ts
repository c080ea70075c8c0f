import { parseWalFileName } from '#src/postgres/wal-segment.js'
import {
  archiveKey,
  backupId,
  backupRecordKey,
  basePrefix,
  clusterKey,
  clusterName,
  heartbeatKey,
  isBackupId,
  parseClusterName,
  profileKey,
  walFileNameOf,
  walKey,
} from '#src/repository/layout.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const CLUSTER = 'pg18-7412345678901234567'
const time = new Date('2026-11-22T18:45:01.123Z')

for (const [what, key, expected] of [
  ['the identity', clusterKey(CLUSTER), `${CLUSTER}/cluster.json`],
  ['a record', backupRecordKey(CLUSTER, 'id'), `${CLUSTER}/backups/id.json`],
  ['an archive', archiveKey(CLUSTER, 'id', 7), `${CLUSTER}/base/id/00007.tar.zst`],
  ['an archive beyond 99999', archiveKey(CLUSTER, 'id', 123456), `${CLUSTER}/base/id/123456.tar.zst`],
  ['a heartbeat', heartbeatKey(CLUSTER, 'id', time), `${CLUSTER}/running/id/20261122T184501.123Z.json`],
  ['a profile', profileKey(time), 'profile/20261122T184501.123Z.json'],
] as const) {
  test(`the key of ${what} is ${expected}`, () => {
    assert.equal(key, expected)
  })
}

for (const [name, key] of [
  ['000000010000000A000000FF', '00000001/0000000A/000000010000000A000000FF.zst'],
  ['000000010000000A000000FF.partial', '00000001/0000000A/000000010000000A000000FF.partial.zst'],
  ['0000000B.history', '0000000B.history.zst'],
  ['000000010000000A000000FF.00000028.backup', '00000001/0000000A/000000010000000A000000FF.00000028.backup.zst'],
] as const) {
  test(`the key of WAL file ${name} leads back to its name (A4)`, () => {
    const file = parseWalFileName(name)!
    assert.equal(walKey(CLUSTER, file), `${CLUSTER}/wal/${key}`)
    assert.equal(walFileNameOf(walKey(CLUSTER, file)), name)
  })
}

test('a backup id is its start in UTC and a random part, and sorts by time', () => {
  const id = backupId(time, '1f3a9c2e')
  assert.equal(id, '20261122T184501Z-1f3a9c2e')
  assert.ok(isBackupId(id))
  assert.ok(id < backupId(new Date('2026-11-22T18:45:02Z'), '00000000'))
  assert.ok(basePrefix(CLUSTER, id).endsWith('/'))
})

for (const text of [
  '',
  'latest',
  '20261122T184501Z',
  '20261122T184501Z-1F3A9C2E',
  '20261122T184501Z-1f3a9c2e.json',
  '../x',
]) {
  test(`"${text}" is no backup id`, () => {
    assert.ok(!isBackupId(text))
  })
}

test('the name of a cluster leads back to its major and system identifier, up to the largest', () => {
  for (const systemIdentifier of [1n, 7_412_345_678_901_234_567n, 2n ** 64n - 1n]) {
    assert.deepEqual(parseClusterName(clusterName(18, systemIdentifier)), { major: 18, systemIdentifier })
  }
})

for (const name of [
  '',
  'main',
  'pg18-',
  'pg18-0123',
  'pg9-123',
  'pg018-1',
  'pg18-123/x',
  'PG18-123',
  `pg18-${'9'.repeat(21)}`,
]) {
  test(`"${name}" is no name of a cluster`, () => {
    assert.equal(parseClusterName(name), undefined)
  })
}
