/** expire, gc and drop-cluster on a storage in memory: what they refuse, what they leave alone, and what they do when it goes wrong. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { dropFrom } from '#src/commands/drop-cluster.js'
import { expireCluster } from '#src/commands/expire.js'
import type { ExpireResult, ExpireRun } from '#src/commands/expire-result.js'
import { collectLeftovers, type GcResult } from '#src/commands/gc.js'
import { ToolError } from '#src/errors.js'
import type { ReportEvent } from '#src/report.js'
import { createObject } from '#src/repository/create-object.js'
import { documentHead, formatDocument } from '#src/repository/document.js'
import { claimIdentity, type ClusterIdentity } from '#src/repository/identity.js'
import {
  backupRecordKey,
  basePrefix,
  clusterKey,
  heartbeatKey,
  PROBE_PREFIX,
  retiredPrefix,
} from '#src/repository/layout.js'
import { requireNotRetired } from '#src/repository/retired.js'
import { writePin } from '#src/repository/pins.js'
import { commitRecord } from '../../support/known-repository.js'
import { MemoryStorage } from '../../support/memory-storage.js'
import { assertValid } from '../../support/schemas.js'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const BEGIN = Date.UTC(2026, 0, 10)
const IDS = ['20260101T000000Z-00000001', '20260102T000000Z-00000002', '20260103T000000Z-00000003']
const [FIRST = '', SECOND = '', THIRD = ''] = IDS

interface Scene {
  storage: MemoryStorage
  cluster: ClusterIdentity
  events: ReportEvent[]
  expire: (run?: Partial<ExpireRun>) => Promise<ExpireResult>
  gc: (run?: { graceMs?: number; dryRun?: boolean }) => Promise<GcResult>
  drop: (options?: { dryRun?: boolean; yes?: boolean; force?: boolean }) => ReturnType<typeof dropFrom>
  /** Lets that time pass by the clock of the store. */
  pass: (ms: number) => void
  beat: (id: string, state: 'running' | 'committed' | 'failed') => Promise<void>
}

/** Three backups, each with a segment of WAL, and one segment before them. */
async function openScene(): Promise<Scene> {
  const storage = new MemoryStorage()
  storage.clock = new Date(BEGIN)
  const facts = { major: 18, systemIdentifier: 7_412_345_678_901_234_567n, walSegmentSize: 2 ** 24 }
  const cluster = await claimIdentity(storage, facts)
  const { name } = cluster
  for (const [at, id] of IDS.entries()) {
    const number = 2 + 2 * at
    const stopTime = `2026-01-0${at + 1}T01:00:00.000Z`
    await commitRecord(storage, { id, stopTime, startLsn: `0/${number}000028` })
    await storage.put(`${basePrefix(name, id)}00000.tar.zst`, Buffer.from('archive'))
  }
  for (let number = 1; number < 8; number++)
    await storage.put(`${name}/wal/00000001/00000000/00000001000000000000000${number}.zst`, Buffer.from('WAL'))
  const events: ReportEvent[] = []
  const context = { report: (event: ReportEvent) => void events.push(event), signal: new AbortController().signal }
  return {
    ...{ storage, cluster, events },
    expire: (run) =>
      expireCluster(storage, cluster, { policy: { keepFull: 1 }, graceMs: DAY, now: storage.clock, ...run }, context),
    gc: (run) => collectLeftovers(storage, cluster, { graceMs: DAY, now: storage.clock, ...run }, context),
    drop: (options) => dropFrom(storage, name, { now: storage.clock, ...options }, context),
    pass: (ms) => (storage.clock = new Date(storage.clock.getTime() + ms)),
    beat: async (id, state) => {
      const beat = { id, host: 'db1', state, startLsn: '0/7000028', startSegment: '000000010000000000000007', time: '' }
      await createObject(storage, heartbeatKey(name, id, storage.clock), formatDocument({ ...documentHead(), ...beat }))
    },
  }
}

const refused = (says: RegExp) => (error: unknown) =>
  error instanceof ToolError && error.code === 'refused' && says.test(error.message)
const walOf = ({ storage }: Scene): string[] =>
  storage.keys().flatMap((key) => /(\d)\.zst$/.exec(key.includes('/wal/') ? key : '')?.[1] ?? [])
const recordsOf = ({ storage }: Scene): string[] =>
  storage.keys().flatMap((key) => /backups\/(.*)\.json$/.exec(key)?.[1] ?? [])

describe('expire', () => {
  it('announces and retracts first, deletes a grace period later, and then says no more of it', async () => {
    const scene = await openScene()
    const { storage, cluster } = scene
    const dry = await scene.expire({ dryRun: true })
    assertValid('expire-result', dry)
    const result = await scene.expire()
    assertValid('expire-result', result)
    assert.deepEqual({ ...result, dryRun: true, deed: undefined }, { ...dry, deed: undefined })
    assert.deepEqual(recordsOf(scene), [THIRD])
    const [announcement = ''] = storage.keys().filter((key) => key.startsWith(retiredPrefix(cluster.name)))
    assertValid('retired', JSON.parse(storage.objects.get(announcement)!.bytes.toString()))
    assert.equal(result.deed?.announcement, announcement)
    assert.equal(walOf(scene).length, 7)

    scene.pass(DAY - 1)
    assert.deepEqual((await scene.expire()).deed, {
      deletedObjects: 0,
      deletedBytes: 0,
      failedObjects: 0,
      failures: [],
    })
    scene.pass(1)
    assert.deepEqual((await scene.expire()).deed?.deletedObjects, 2 + 5)
    assert.deepEqual(walOf(scene), ['6', '7'])
    assert.ok(storage.objects.has(announcement), 'a backup that has run since before it may still read it')
    scene.pass(7 * DAY)
    await scene.expire()
    assert.ok(!storage.objects.has(announcement))
    assert.ok(storage.objects.has(`${basePrefix(cluster.name, THIRD)}00000.tar.zst`))
  })

  it('does all in one run without grace, but not while a backup is in progress', async () => {
    const scene = await openScene()
    await scene.beat('20260109T000000Z-0000000a', 'running')
    await assert.rejects(scene.expire({ graceMs: 0 }), refused(/in progress, and there is no grace period/))
    assert.equal(recordsOf(scene).length, 3)
    scene.pass(HOUR)
    await scene.expire({ graceMs: 0 })
    assert.deepEqual([recordsOf(scene), walOf(scene)], [[THIRD], ['6', '7']])
  })

  it('leaves alone what was announced and is needed now', async () => {
    const scene = await openScene()
    await scene.expire()
    scene.pass(DAY)
    // a backup that was taken for given up, and was finalized in spite of it
    await commitRecord(scene.storage, { id: SECOND, stopTime: '2026-01-02T01:00:00.000Z', startLsn: '0/4000028' })
    await scene.expire({ policy: { keepFull: 2 } })
    assert.deepEqual(walOf(scene), ['4', '5', '6', '7'])
    assert.ok(scene.storage.objects.has(`${basePrefix(scene.cluster.name, SECOND)}00000.tar.zst`))
    assert.ok(!scene.storage.objects.has(`${basePrefix(scene.cluster.name, FIRST)}00000.tar.zst`))
  })

  it('counts what is locked, goes on with the rest, and keeps all that a record needs which stays', async () => {
    const scene = await openScene()
    const { name } = scene.cluster
    scene.storage.isLocked = (key) => key === backupRecordKey(name, SECOND)
    const { deed } = await scene.expire({ graceMs: 0 })
    assert.equal(deed?.failedObjects, 1)
    assert.deepEqual(deed.failures, [{ key: backupRecordKey(name, SECOND), reason: 'it is locked (AccessDenied)' }])
    assert.deepEqual(recordsOf(scene), [SECOND, THIRD])
    assert.ok(scene.storage.objects.has(`${basePrefix(name, SECOND)}00000.tar.zst`))
    assert.deepEqual(walOf(scene), ['4', '6', '7'])
  })

  it('deletes no WAL and no data while a record cannot be read, which may use it, and gc neither', async () => {
    const scene = await openScene()
    const { name } = scene.cluster
    scene.storage.objects.get(backupRecordKey(name, FIRST))!.bytes = Buffer.from('{}')
    const result = await scene.expire({ graceMs: 0 })
    assertValid('expire-result', result)
    assert.deepEqual(result.walHolds, [`the record of backup ${FIRST} cannot be read`])
    assert.equal(walOf(scene).length, 7)
    assert.deepEqual(recordsOf(scene), [FIRST, THIRD])
    for (let run = 0; run < 2; run++) {
      for (const id of [FIRST, SECOND]) assert.ok(scene.storage.objects.has(`${basePrefix(name, id)}00000.tar.zst`))
      scene.pass(2 * DAY)
      assert.deepEqual((await scene.gc({ graceMs: 0 })).folders, [])
      await scene.expire({ graceMs: 0 })
    }
    assert.ok(scene.events.some((event) => event.type === 'warning' && /may use it$/.test(event.message)))
    await scene.storage.delete([backupRecordKey(name, FIRST)])
    await scene.gc({ graceMs: 0 })
    assert.ok(!scene.storage.objects.has(`${basePrefix(name, SECOND)}00000.tar.zst`))
  })

  it('does no harm twice at once', async () => {
    const scene = await openScene()
    await Promise.all([scene.expire({ graceMs: 0 }), scene.expire({ graceMs: 0 })])
    assert.deepEqual([recordsOf(scene), walOf(scene)], [[THIRD], ['6', '7']])
  })

  it('passes over an announcement that is damaged, and announces anew', async () => {
    const scene = await openScene()
    const { deed } = await scene.expire()
    scene.storage.objects.get(deed?.announcement ?? '')!.bytes = Buffer.from('{}')
    scene.pass(DAY)
    assert.ok((await scene.expire()).deed?.announcement)
    assert.equal(walOf(scene).length, 7)
    assert.ok(scene.events.some((event) => event.type === 'warning' && /is passed over/.test(event.message)))
  })
})

describe('a backup before its commit', () => {
  const used = { id: '20260109T000000Z-0000000a', timeline: 1, walSegmentSize: 2 ** 24 }
  const commit = (scene: Scene, segments: string[], id = used.id): Promise<void> =>
    requireNotRetired(scene.storage, scene.cluster.name, { ...used, segments, id })

  it('is refused where an announcement names its WAL or its own objects, and goes on where none does', async () => {
    const scene = await openScene()
    await scene.expire()
    await commit(scene, ['000000010000000000000006', '000000010000000000000007'])
    const wal = refused(/announces that WAL segment "000000010000000000000005" is deleted/)
    await assert.rejects(commit(scene, ['000000010000000000000005', '000000010000000000000006']), wal)
    await assert.rejects(commit(scene, ['000000010000000000000007'], FIRST), refused(/this backup is deleted/))
    await scene.storage.put(`${basePrefix(scene.cluster.name, used.id)}00000.tar.zst`, Buffer.from('archive'))
    await scene.beat(used.id, 'running')
    scene.pass(DAY)
    await scene.gc()
    await assert.rejects(commit(scene, ['000000010000000000000007']), refused(/this backup is deleted/))
  })

  it('is refused where an announcement cannot be read, or the cluster was dropped', async () => {
    const scene = await openScene()
    const { deed } = await scene.expire()
    const object = scene.storage.objects.get(deed?.announcement ?? '')!
    const { bytes } = object
    object.bytes = Buffer.from('{}')
    await assert.rejects(commit(scene, ['000000010000000000000007']), refused(/could not read what/))
    object.bytes = bytes
    await scene.storage.delete([clusterKey(scene.cluster.name)])
    await assert.rejects(commit(scene, ['000000010000000000000007']), refused(/cluster\.json" is gone/))
  })
})

describe('gc', () => {
  const RUN = '20260109T000000Z-0000000a'

  it('takes what a failed backup left, a grace period after it has said so', async () => {
    const scene = await openScene()
    const { storage, cluster } = scene
    const before = storage.keys()
    await storage.put(`${basePrefix(cluster.name, RUN)}00000.tar.zst`, Buffer.from('archive'))
    await scene.beat(RUN, 'running')
    assert.deepEqual((await scene.gc()).folders, [], 'it is in progress')
    scene.pass(1000)
    await scene.beat(RUN, 'failed')
    assertValid('gc-result', await scene.gc({ dryRun: true }))
    const result = await scene.gc()
    assertValid('gc-result', result)
    assert.deepEqual(
      result.folders.map(({ folder, when }) => `${folder} ${when}`),
      ['base later', 'running later'],
    )
    scene.pass(DAY)
    assert.equal((await scene.gc()).deed?.deletedObjects, 3)
    scene.pass(7 * DAY)
    await scene.gc()
    assert.deepEqual(storage.keys(), before)
  })

  it('leaves a backup that can be finalized alone for a week', async () => {
    const scene = await openScene()
    await scene.beat(RUN, 'failed')
    await scene.storage.put(`${basePrefix(scene.cluster.name, RUN)}unfinished.json`, Buffer.from('{}'))
    scene.pass(7 * DAY - 1)
    assert.deepEqual([(await scene.gc()).folders, (await scene.gc()).inUse], [[], [{ id: RUN, state: 'unfinished' }]])
    assert.deepEqual((await scene.expire({ dryRun: true })).wal.at(-1)?.first, '000000010000000000000006')
    scene.pass(1)
    assert.equal((await scene.gc()).folders.length, 2)
  })

  it('takes data without a heartbeat only when it is a day old', async () => {
    const scene = await openScene()
    await scene.storage.put(`${basePrefix(scene.cluster.name, RUN)}00000.tar.zst`, Buffer.from('archive'))
    scene.pass(DAY - 1)
    assert.deepEqual((await scene.gc()).folders, [])
    scene.pass(1)
    assert.equal((await scene.gc()).folders.length, 1)
  })

  it('takes heartbeats of backups that are complete, and pins and proofs of those that are gone', async () => {
    const scene = await openScene()
    await scene.beat(FIRST, 'committed')
    const pin = { pinned: true, until: null, time: '2026-01-09T00:00:00.000Z' }
    await writePin(scene.storage, scene.cluster.name, { ...pin, id: RUN })
    await writePin(scene.storage, scene.cluster.name, { ...pin, id: FIRST })
    scene.pass(DAY)
    const { folders } = await scene.gc()
    assert.deepEqual(
      folders.map(({ folder, id }) => `${folder} ${id}`),
      [`running ${FIRST}`, `pins ${RUN}`],
    )
  })

  it('takes uploads that never ended and what probes have left, but nothing that may be in the making', async () => {
    const scene = await openScene()
    const { storage, cluster } = scene
    const old = new Date(BEGIN - 2 * DAY)
    storage.uploads.push({ key: `${cluster.name}/base/x`, uploadId: 'old', initiated: old })
    storage.uploads.push({ key: `${cluster.name}/base/y`, uploadId: 'new', initiated: new Date(BEGIN - 60_000) })
    storage.uploads.push({ key: `pg17-7412345678901234567/base/y`, uploadId: 'other', initiated: old })
    await storage.put(`${PROBE_PREFIX}new`, Buffer.from('x'))
    storage.objects.set(`${PROBE_PREFIX}old`, { bytes: Buffer.from('x'), lastModified: old })
    const { deed } = await scene.gc({ graceMs: 0 })
    assert.deepEqual([deed?.abortedUploads, deed?.deletedObjects], [1, 1])
    assert.deepEqual(
      storage.uploads.map(({ uploadId }) => uploadId),
      ['new', 'other'],
    )
    assert.ok(storage.objects.has(`${PROBE_PREFIX}new`))
  })
})

describe('drop-cluster', () => {
  it('is refused where the cluster is in use, pinned or alive, and where nobody says yes', async () => {
    const scene = await openScene()
    const before = scene.storage.keys().length
    await assert.rejects(scene.drop({ yes: true }), refused(/WAL of timeline 1 was archived at/))
    scene.pass(DAY)
    await assert.rejects(scene.drop(), refused(/nobody has confirmed it/))
    await writePin(scene.storage, scene.cluster.name, {
      id: FIRST,
      pinned: true,
      until: null,
      time: '2026-01-09T00:00:00.000Z',
    })
    await scene.beat('20260109T000000Z-0000000a', 'running')
    await assert.rejects(scene.drop({ yes: true }), refused(/is in progress; backup .* is pinned/))
    assertValid('drop-cluster-result', await scene.drop({ dryRun: true }))
    assert.equal(scene.storage.keys().length, before + 2)
  })

  it('leaves nothing, whenever it is killed and run again, and nothing half deleted is listed', async () => {
    for (let deletions = 0; deletions < 14; deletions++) {
      const scene = await openScene()
      const { storage, cluster } = scene
      scene.pass(DAY)
      storage.deletionsLeft = deletions
      await assert.rejects(scene.drop({ yes: true }), /killed/)
      for (const id of recordsOf(scene)) assert.ok(storage.objects.has(`${basePrefix(cluster.name, id)}00000.tar.zst`))
      storage.deletionsLeft = Infinity
      assertValid('drop-cluster-result', await scene.drop({ yes: true }))
      assert.deepEqual(storage.keys(), ['README.txt'])
      await assert.rejects(scene.drop({ yes: true }), /no cluster ".*" is stored/)
    }
  })

  it('keeps everything of a backup whose record is locked', async () => {
    const scene = await openScene()
    scene.pass(DAY)
    scene.storage.isLocked = (key) => key === backupRecordKey(scene.cluster.name, FIRST)
    const { deed } = await scene.drop({ yes: true })
    assert.equal(deed?.failedObjects, 1)
    assert.deepEqual(recordsOf(scene), [FIRST])
    assert.equal(walOf(scene).length, 7)
  })
})
