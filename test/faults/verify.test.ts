/**
 * Every single fault of every object that a backup needs must be reported with the key of that object: flipped, cut, gone,
 * longer, doubled, swapped, at the ends and at random offsets (V1, V7, V8). The base is one small backup with a tablespace.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Job, JobResult } from '#src/archive/jobs.js'
import { acknowledge } from '#src/commands/acknowledge.js'
import { verifyWith, type VerifyAnswer, type VerifyOptions } from '#src/commands/verify.js'
import { makeSettings } from '#src/config/settings.js'
import { formatDocument } from '#src/repository/document.js'
import { HeartbeatWriter } from '#src/repository/heartbeat.js'
import { readProofStates } from '#src/repository/proofs.js'
import { silent } from '#src/report.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { FrameCompressor, seekTable } from '#src/streams/zstd-compress.js'
import { createJobRunner } from '#src/workers/run-job.js'
import { decompress } from 'zstd-napi'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository } from '../support/file-repository.js'
import { awaitPromotion, makeOld } from '../support/pgsluice.js'
import { query, type Cluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const context = { report: silent, signal: new AbortController().signal }

/** Objects that a listed backup needs; README, profile and heartbeats are for others. */
const NEEDED = /\/(cluster\.json|backups\/[^/]+\.json|base\/.+|wal\/.+\.zst)$/

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ (1 << randomInt(8)), at)
  return copy
}

/** A frame's header has a bit that zstd ignores, and a window that may be larger: all that comes out is proven the same. */
function isTheSameToZstd(before: Buffer, after: Buffer): boolean {
  const [one, other] = [before, after].map((input) => spawnSync('zstd', ['-dcq'], { input, maxBuffer: 2 ** 30 }))
  return before.length === after.length && one?.status === 0 && other?.status === 0 && one.stdout.equals(other.stdout)
}

/** What one bit decompresses to may be wrong in several files: each of them is told, and nothing that follows from it. */
function isOneCause(faults: readonly { key: string; place?: string | undefined }[]): boolean {
  const [first] = faults
  return faults.length <= 1 || faults.every(({ key, place = '' }) => key === first?.key && place.startsWith('file "'))
}

function sabotages(bytes: Buffer, others: Buffer): Record<string, Buffer | undefined> {
  const last = bytes.length - 1
  const [one, two] = [randomInt(bytes.length), randomInt(bytes.length)]
  const [from, length] = [randomInt(bytes.length), randomInt(1, 64)]
  return {
    'the first bit flipped': flipped(bytes, 0),
    'the last byte flipped': flipped(bytes, last),
    [`a bit flipped at ${one}`]: flipped(bytes, one),
    [`a bit flipped at ${two}`]: flipped(bytes, two),
    'the last byte cut off': bytes.subarray(0, last),
    [`cut at ${one}`]: bytes.subarray(0, one),
    emptied: Buffer.alloc(0),
    'one byte longer': Buffer.concat([bytes, Buffer.of(0)]),
    doubled: Buffer.concat([bytes, bytes]),
    [`${length} bytes cut out at ${from}`]: Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + length)]),
    'another object in its place': others,
    gone: undefined,
  }
}

const skip = await whyNoCommandLine()

describe('verify', { skip }, () => {
  let repository: FileRepository
  let storage: Storage
  let cluster: string
  let id: string

  before(async () => {
    repository = await FileRepository.create()
    await using server = await repository.startCluster({ walSegmentSizeMb: 1 })
    const space = path.join(repository.home, 'space')
    mkdirSync(space)
    await giveToServerUser(space)
    await query(server, `create tablespace space location '${space}'`)
    await query(server, 'create table here as select generate_series(1, 20000) as i')
    await query(server, 'create table there tablespace space as select generate_series(1, 1000) as i')
    await repository.backUp(server)
    await promote(server)
    storage = await openStorage({ url: repository.url })
    ;({ cluster, id } = repository.backups[0]!)
  })

  /** The server goes on along timeline 2, as after a recovery, and archives two segments of it. */
  async function promote(server: Cluster): Promise<void> {
    await server.stop()
    const signal = path.join(server.pgdata, 'recovery.signal')
    writeFileSync(signal, '')
    await giveToServerUser(signal)
    await server.start({ settings: { restore_command: 'false' } })
    // a hot standby lets in whoever comes before the end of recovery
    await awaitPromotion(server)
    for (const table of ['later', 'latest']) {
      await query(server, `create table ${table} as select 1 as i`)
      const sql = 'select pg_walfile_name(pg_switch_wal()) as segment'
      const [{ segment } = { segment: '' }] = await query<{ segment: string }>(server, sql)
      assert.match(segment, /^00000002/)
      await waitUntil(`"${segment}" to be archived`, () =>
        repository.keys().some((key) => key.endsWith(`/${segment}.zst`)),
      )
    }
  }

  after(() => {
    storage.close()
    repository.close()
  })

  const runner = async function* (jobs: AsyncIterable<Job> | Iterable<Job>): AsyncGenerator<JobResult> {
    const run = createJobRunner(storage, 0)
    for await (const job of jobs) yield run(job, { signal: context.signal, addProgress: () => undefined })
  }
  const look = async (options: VerifyOptions = {}): Promise<VerifyAnswer> => {
    makeOld(path.join(repository.directory, cluster, 'wal'))
    const answer = await verifyWith(storage, { level: 'wal', ...options, cluster: undefined, run: runner }, context)
    return answer
  }
  const proofs = (): string[] => repository.keys().filter((key) => key.includes('/proofs/'))
  const withoutProofs = async <T>(work: () => Promise<T>): Promise<T> => {
    const known = new Set(proofs())
    const result = await work()
    await storage.delete(proofs().filter((key) => !known.has(key)))
    return result
  }

  test('proves a whole backup at every level, and keeps the proofs', async () => {
    for (const level of ['metadata', 'content', 'wal'] as const) {
      const { ok, backups } = await look({ level })
      assert.deepEqual(backups[0]?.faults, [])
      assert.equal(ok, true)
      assertValid('proof', JSON.parse(repository.read(proofs().at(-1)!).toString()))
      const state = (await readProofStates(storage, cluster)).get(id)
      assert.equal(state?.state, 'proven')
      assert.equal(state.level, level)
    }
    const [recent] = (await look({ sinceMs: 60_000 })).backups
    assert.equal(recent?.state, 'recent')
    assert.equal((await look({ sinceMs: 1 })).backups[0]?.state, 'ok')
    await storage.delete(proofs())
  })

  test('reports every single fault of every object with its key', async () => {
    const keys = repository.keys().filter((key) => NEEDED.test(key) && !key.endsWith('.backup.zst'))
    assert.ok(keys.length >= 10, keys.join(' '))
    // what the backup needs, and what leads recovery on to the next timeline
    const { start, stop } = repository.backups[0]!
    const fork = keys.find((key) => /\/00000002[0-9A-F]{16}\.zst$/.test(key))!
    const needed = new Set([start.segment, stop.segment, '00000002.history', path.basename(fork)])
    const unseen: string[] = []
    let cases = 0
    for (const [index, key] of keys.entries()) {
      const isNeededWal = !key.includes('/wal/') || [...needed].some((name) => key.includes(name))
      if (!isNeededWal) continue
      const other = repository.read(keys[(index + 1) % keys.length]!)
      for (const [name, bytes] of Object.entries(sabotages(repository.read(key), other))) {
        // a record that is gone is a backup that does not exist (V8)
        if (name === 'gone' && key.includes('/backups/')) continue
        cases++
        const answer = await repository.damaged({ [key]: bytes }, () =>
          withoutProofs(() => look({ backup: id, level: key.includes('/wal/') ? 'wal' : 'content' })),
        )
        const found = answer.backups[0]!.faults.find((fault) => fault.key === key)
        if ((answer.ok || !found?.place) && bytes && isTheSameToZstd(repository.read(key), bytes)) continue
        if (answer.ok || !found) unseen.push(`${key}: ${name}: ${JSON.stringify(answer.backups[0]!.faults)}`)
        else if (!isOneCause(answer.backups[0]!.faults))
          unseen.push(`${key}: ${name}: follow-ups: ${JSON.stringify(answer.backups[0]!.faults)}`)
        else if (/\.tar\.zst$|\/[0-9A-F]{24}\.zst$/.test(key) && name !== 'gone' && found.place === undefined)
          unseen.push(`${key}: ${name}: without a place: ${found.problem}`)
      }
    }
    assert.deepEqual(unseen, [])
    assert.ok(cases > 80)
  })

  test('names both objects of a swap: each has a place of its own (V8)', async () => {
    const keysOf = (pattern: RegExp): string[] => repository.keys().filter((key) => pattern.test(key))
    const pairs = [
      keysOf(/\.tar\.zst$/).slice(0, 2),
      keysOf(/\/[0-9A-F]{24}\.zst$/).slice(-2),
      keysOf(/\/(backup_label|tablespace_map)$/),
      keysOf(/\/(files|objects)\.jsonl\.zst$/),
    ]
    for (const [one = '', two = ''] of pairs) {
      const swapped = { [one]: repository.read(two), [two]: repository.read(one) }
      const answer = await repository.damaged(swapped, () => withoutProofs(() => look()))
      const found = answer.backups[0]!.faults.map(({ key }) => key).sort()
      assert.deepEqual(found, [one, two].sort())
    }
  })

  test('finds an archive that was packed again with another byte in its padding', async () => {
    const key = repository.keys().find((one) => one.endsWith('/00000.tar.zst'))!
    const tar = decompress(repository.read(key))
    const at = tar.lastIndexOf('PG_VERSION')
    assert.ok(at > 0)
    tar.writeUInt8(tar.readUInt8(at + 512) ^ 1, at + 512)
    const compressor = new FrameCompressor({ level: 1 })
    const out = Buffer.alloc(tar.length * 2)
    compressor.begin(tar)
    const length = compressor.drain(out)
    const packed = Buffer.concat([out.subarray(0, length), seekTable(compressor.frames)])
    const answer = await repository.damaged({ [key]: packed }, () => withoutProofs(() => look()))
    assert.equal(answer.backups[0]?.faults[0]?.key, key)
  })

  test('tells a backup in progress and objects that nothing names, neither as a fault', async () => {
    const extra = `${cluster}/base/${id}/99999.left`
    const beat = { id: '20990101T000000Z-00000000', host: 'db1', startLsn: '0/1', startSegment: '0'.repeat(24) }
    const heartbeat = new HeartbeatWriter(storage, cluster, beat)
    await heartbeat.start((error) => {
      throw error
    })
    const running = repository.keys().find((key) => key.includes(beat.id))!
    const kept = repository.read(running)
    await heartbeat.end('failed')
    await storage.delete(repository.keys().filter((key) => key.includes(beat.id)))
    await repository.damaged({ [extra]: Buffer.from('x'), [running]: kept }, () =>
      withoutProofs(async () => {
        const answer = await look({ level: 'metadata' })
        assert.equal(answer.ok, true)
        assert.match(answer.backups[0]!.remarks.join(), /99999\.left/)
        assert.deepEqual(answer.running, [{ cluster, id: beat.id, host: 'db1' }])
      }),
    )
  })

  test('names a segment that is missing where later ones are there, and reads those that follow the backup', async () => {
    const segments = repository.keys().filter((key) => /\/[0-9A-F]{24}\.zst$/.test(key))
    const behind = segments.filter((key) => !key.includes(repository.backups[0]!.start.segment)).at(-1)
    assert.ok(behind)
    const [, first] = /([0-9A-F]{24})\.zst$/.exec(segments.at(-1)!)!
    const number = Number.parseInt(first!.slice(16), 16)
    const later = segments
      .at(-1)!
      .replace(first!, first!.slice(0, 16) + (number + 2).toString(16).toUpperCase().padStart(8, '0'))
    const gone = segments
      .at(-1)!
      .replace(first!, first!.slice(0, 16) + (number + 1).toString(16).toUpperCase().padStart(8, '0'))
    const answer = await repository.damaged({ [later]: Buffer.from('x') }, () => withoutProofs(() => look()))
    assert.deepEqual(
      answer.backups[0]!.faults.map(({ key }) => key),
      [gone],
    )
  })

  test('an operator acknowledges what is wrong, and nothing that is not', async () => {
    const settings = makeSettings({ repository: repository.url, cluster })
    const asked = { backup: id, reason: 'known' }
    await assert.rejects(acknowledge(settings, asked, context), /nothing is known to be wrong/)
    const key = `${cluster}/base/${id}/backup_label`
    await repository.damaged({ [key]: Buffer.from('x') }, () => look())
    assert.equal((await readProofStates(storage, cluster)).get(id)?.state, 'failed')
    const done = await acknowledge(settings, asked, context)
    assertValid('acknowledge-result', done)
    assertValid('proof', JSON.parse(repository.read(proofs().at(-1)!).toString()))
    assert.deepEqual(
      done.faults.map((fault) => fault.key),
      [key],
    )
    const state = (await readProofStates(storage, cluster)).get(id)
    assert.equal(state?.state, 'acknowledged')
    assert.equal(state.acknowledgements[0]?.reason, 'known')
    await assert.rejects(acknowledge(settings, asked, context), /acknowledged already/)
    await repository.damaged({ [key]: Buffer.from('y') }, () => look())
    assert.equal((await readProofStates(storage, cluster)).get(id)?.state, 'failed')
    await storage.delete(proofs())
  })

  test('a forged record with its own checksum right does not agree with the rest', async () => {
    const key = `${cluster}/backups/${id}.json`
    const record = repository.backups[0]!
    const forged = { ...record, start: { ...record.start, checkpointLsn: '0/28' } }
    const bytes = Buffer.from(formatDocument(forged))
    const answer = await repository.damaged({ [key]: bytes }, () => withoutProofs(() => look({ level: 'metadata' })))
    assert.equal(answer.ok, false)
  })

  test('an outage is no fault, and leaves no proof', async () => {
    const broken: Storage = {
      ...{ url: storage.url, put: storage.put.bind(storage), head: storage.head.bind(storage) },
      ...{ list: storage.list.bind(storage), delete: storage.delete.bind(storage), close: () => undefined },
      get: (key, options) =>
        key.endsWith('.tar.zst') ? Promise.reject(new Error('the wire is cut')) : storage.get(key, options),
    }
    const run = async function* (jobs: AsyncIterable<Job> | Iterable<Job>): AsyncGenerator<JobResult> {
      const work = createJobRunner(broken, 0)
      for await (const job of jobs) yield work(job, { signal: context.signal, addProgress: () => undefined })
    }
    await assert.rejects(verifyWith(broken, { cluster, run }, context), /the wire is cut/)
    assert.deepEqual(proofs(), [])
  })
})
