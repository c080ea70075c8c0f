/** The published schemas against documents that the code itself writes: neither may change without the other. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { list } from '#src/commands/list.js'
import { show } from '#src/commands/show.js'
import { makeSettings } from '#src/config/settings.js'
import { silent } from '#src/report.js'
import { commitBackup, type BackupRecord } from '#src/repository/backup-record.js'
import { documentHead } from '#src/repository/document.js'
import { pathField, type IndexLine } from '#src/repository/files-index.js'
import { HeartbeatWriter } from '#src/repository/heartbeat.js'
import { claimIdentity } from '#src/repository/identity.js'
import { createJsonLines, readJsonLines } from '#src/repository/json-lines.js'
import { backupRecordKey, basePrefix, clusterKey, PROFILE_PREFIX, runningPrefix } from '#src/repository/layout.js'
import type { ObjectsIndexLine } from '#src/repository/objects-index.js'
import { writeProfile } from '#src/repository/profile.js'
import { parseWalObjectHead, lookAtWalFile, WalCompressor, WalObjectBody } from '#src/repository/wal-object.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { assertValid, problemsOf, SCHEMAS, type Schema } from '../support/schemas.js'

const ID = '20261122T184501Z-1f3a9c2e'
const CLUSTER = 'pg18-7412345678901234567'
const SHA256 = 'ab'.repeat(32)
const SEGMENT = '000000010000000000000002'
const OWNER = { mode: '0600', uid: 999, gid: 999 }

const RECORD: BackupRecord = {
  ...documentHead(),
  ...{ tool: 'pgsluice 0.1.0', id: ID, label: 'nightly', type: 'full', cluster: CLUSTER, postgresVersion: 180004 },
  ...{ catalogVersion: 202506291, walSegmentSize: 16777216, blockSize: 8192, dataChecksums: true, fromStandby: false },
  checksumAlgorithm: 'CRC32C',
  start: {
    ...{ lsn: '0/2000028', checkpointLsn: '0/2000080', timeline: 1, segment: SEGMENT },
    time: '2026-11-22T18:45:01.123Z',
  },
  stop: { lsn: '0/2000158', timeline: 1, segment: SEGMENT, time: '2026-11-22T18:45:03.456Z' },
  tablespaces: [
    { oid: 16401, location: '/srv/fast' },
    { oid: 16402, location: 'pg_tblspc/16402', inPlace: true },
  ],
  objects: { sha256: SHA256, count: 31, bytes: 1311 },
  files: { sha256: SHA256, count: 1204 },
  totals: { bytes: 4126, storedBytes: 1311, seconds: 2.4, pageErrors: 0, vanishedFiles: 0, skippedFiles: 0 },
  parent: null,
  uses: {},
}

const FILES: IndexLine[] = [
  { type: 'directory', ...pathField(Buffer.from('base')), ...OWNER },
  { type: 'tablespace', ...pathField(Buffer.from('pg_tblspc/16401')), oid: 16401, location: '/srv/fast', ...OWNER },
  {
    ...{ type: 'file', ...pathField(Buffer.from([0x62, 0xff])), size: 0, ...OWNER, mtime: '2026-11-22T18:45:01.123Z' },
    ...{ archive: 0, offset: 512, checksum: '00000000', padded: true },
  },
]

const OBJECTS: ObjectsIndexLine[] = [
  { type: 'object', name: '00000.tar.zst', size: 1, sha256: SHA256, members: 7 },
  { type: 'object', name: 'backup_label', size: 1, sha256: SHA256 },
  {
    ...{ type: 'page-errors', path: 'base/1/2', fork: 'main', pages: 3, ranges: [[0, 2]] },
    first: { block: 0, stored: 1, computed: 2, lsn: '0/1' },
  },
  { type: 'skipped', path: 'fifo', reason: 'it is no regular file' },
  { type: 'vanished', path: 'base/1/3' },
]

describe('the published schemas', () => {
  let directory: string
  let url: string
  let storage: Storage

  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'pgsluice-schemas-'))
    mkdirSync(path.join(directory, 'repository'))
    url = pathToFileURL(path.join(directory, 'repository')).href
    storage = await openStorage({ url })
    const facts = { major: 18, systemIdentifier: 7412345678901234567n, walSegmentSize: 16777216, alias: 'main' }
    await claimIdentity(storage, facts)
  })

  after(() => {
    storage.close()
    rmSync(directory, { recursive: true, force: true })
  })

  const read = (key: string): unknown => JSON.parse(readFileSync(path.join(directory, 'repository', key), 'utf8'))

  async function readAll(prefix: string): Promise<unknown[]> {
    const documents = []
    for await (const { key } of storage.list(prefix)) documents.push(read(key))
    return documents
  }

  it('take the identity of a cluster, the profile of a store and the heartbeats of a backup', async () => {
    assertValid('cluster', read(clusterKey(CLUSTER)))
    await writeProfile(storage, { createOnlyPut: true, createOnlyMultipart: false, checksumHeaders: true }, new Date())
    const profiles = await readAll(PROFILE_PREFIX)
    assert.equal(profiles.length, 1)
    for (const profile of profiles) assertValid('profile', profile)
    const beat = { id: ID, host: 'db1', startLsn: '0/2000028', startSegment: SEGMENT }
    const heartbeat = new HeartbeatWriter(storage, CLUSTER, beat)
    await heartbeat.start((error) => {
      throw error
    })
    await heartbeat.end('committed')
    const beats = await readAll(runningPrefix(CLUSTER))
    assert.ok(beats.length > 0)
    for (const document of beats) assertValid('heartbeat', document)
  })

  it('take a backup record, its indexes, and what list and show print of them', async () => {
    const prefix = basePrefix(CLUSTER, ID)
    const files = await createJsonLines(storage, `${prefix}files.jsonl.zst`, FILES)
    for await (const line of readJsonLines(storage, files.key, files.sha256)) assertValid('files-line', line)
    const objects = await createJsonLines(storage, `${prefix}objects.jsonl.zst`, OBJECTS)
    for await (const line of readJsonLines(storage, objects.key, objects.sha256)) assertValid('objects-line', line)
    await commitBackup(storage, { ...RECORD, objects: { sha256: objects.sha256, count: 2, bytes: 1 } })
    assertValid('backup-record', read(backupRecordKey(CLUSTER, ID)))
    assertValid('backup-result', { type: 'result', backup: RECORD })

    const settings = makeSettings({ repository: url })
    const context = { report: silent, signal: new AbortController().signal }
    assertValid('list-result', { clusters: await list(settings, {}, context) })
    assertValid('show-result', await show(settings, 'nightly', context))
    const kept = await show(makeSettings({ repository: url, 'keep-daily': 7 }), 'nightly', context)
    assertValid('show-result', kept)
    assert.deepEqual(kept.retention, {
      id: ID,
      action: 'keep',
      reasons: ['the newest of its day', 'the newest good backup'],
    })
  })

  it('take the head of a WAL object', async () => {
    const file = path.join(directory, SEGMENT)
    writeFileSync(file, 'not really WAL')
    const source = new WalObjectBody(SEGMENT, file, await lookAtWalFile(file), new WalCompressor(1))
    const bytes = Buffer.alloc(64 * 1024)
    await source.fill(bytes)
    source.close()
    assertValid('wal-object-head', parseWalObjectHead(bytes, 'key'))
  })

  it('leave unknown members alone, and miss every required one', () => {
    const text = { ...RECORD, checksum: SHA256 }
    assertValid('backup-record', { ...text, invented: { later: true } })
    for (const name of Object.keys(text)) {
      const without = Object.fromEntries(Object.entries(text).filter(([key]) => key !== name))
      assert.notDeepEqual(problemsOf('backup-record', without), [], `a record without "${name}" is taken`)
    }
    assert.notDeepEqual(problemsOf('cluster', {}), [])
    assert.notDeepEqual(problemsOf('files-line', { type: 'file', path: 'a', pathHex: '61' }), [])
    assert.notDeepEqual(problemsOf('event-line', { type: 'backup-planned', files: '1' }), [])
  })

  for (const [name, schema] of SCHEMAS) {
    it(`tell what everything is: ${name}`, () => {
      assert.equal(schema.$schema, 'https://json-schema.org/draft/2020-12/schema')
      assert.equal(schema.$id, `urn:pgsluice:schema:${name}`)
      assert.ok(schema.title && schema.description)
      assert.deepEqual(undescribed(schema), [])
      // whoever compiles it, as strictly as it can be, finds nothing that is unknown
      assert.doesNotThrow(() => problemsOf(name, {}))
    })
  }
})

/** Members without a description; a constant and a reference tell themselves. */
function undescribed(schema: unknown, at = ''): string[] {
  if (typeof schema !== 'object' || schema === null) return []
  return Object.entries(schema).flatMap(([key, value]) => {
    const place = `${at}/${key}`
    if (key !== 'properties') return undescribed(value, place)
    return Object.entries(value as Record<string, Schema>).flatMap(([name, member]) => {
      const isClear =
        member.description ?? member['const'] ?? member['$ref'] ?? (name === 'type' || name === 'phase' || undefined)
      return [...(isClear !== undefined ? [] : [`${place}/${name}`]), ...undescribed(member, `${place}/${name}`)]
    })
  })
}
