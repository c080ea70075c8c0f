/**
 * Transactions and restore points found in archived WAL (I3, I4): those of a real server, of every version. What the
 * server itself says about them (track_commit_timestamp, its LSNs) and what pg_waldump reads must be the same.
 */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Client } from 'pg'
import { NotFoundError } from '#src/errors.js'
import { formatLsn, parseLsn } from '#src/postgres/lsn.js'
import { parseWalFileName, segmentName, segmentNumberAt } from '#src/postgres/wal-segment.js'
import type { TransactionEvent } from '#src/postgres/wal-transactions.js'
import { claimIdentity, type ClusterIdentity } from '#src/repository/identity.js'
import { walKey } from '#src/repository/layout.js'
import { PushMemory } from '#src/repository/push-memory.js'
import { lookAtWalFile, WalCompressor } from '#src/repository/wal-object.js'
import { pushWalFile } from '#src/repository/wal-push.js'
import { findLastTransaction, scanTransactions } from '#src/repository/wal-search.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { requireOracles } from '../support/oracles.js'
import { openDirectoryRepository } from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { openClient, startCluster, type Cluster } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const SEGMENT = 1024 * 1024
const POINTS = ['before', 'vor dem Löschen', 'x'.repeat(63)]

type Found = TransactionEvent & { segment: string }
type End = Extract<Found, { kind: 'commit' | 'abort' }>

/** What a server did and its WAL lies in a repository. */
interface Scene {
  cluster: Cluster
  storage: Storage
  identity: ClusterIdentity
  /** All segments, ascending. */
  segments: string[]
  /** Transactions by what they did. */
  xids: Map<string, number>
  /** When they committed, as the server says, in microseconds since 2000. */
  times: Map<number, bigint>
  /** Where restore points end, as the server says. */
  points: Map<string, bigint>
  /** Where the workload began and ended. */
  from: bigint
  to: bigint
  /** Begins in one segment and ends in the next. */
  crossing: number
}

/** Does all that ends transactions in its own way. */
async function work(client: Client): Promise<Pick<Scene, 'xids' | 'points' | 'crossing'>> {
  const xids = new Map<string, number>()
  const points = new Map<string, bigint>()
  /** One transaction; `end` may be a command of its own kind. */
  const transaction = async (what: string, sql: string[], end = 'commit'): Promise<number> => {
    await client.query('begin')
    const id = await client.query<{ id: string }>('select (txid_current() % 4294967296)::text as id')
    for (const statement of sql) await client.query(statement)
    await client.query(end)
    const xid = Number(id.rows[0]!.id)
    xids.set(what, xid)
    return xid
  }
  const point = async (name: string): Promise<void> => {
    const { rows } = await client.query<{ lsn: string }>('select pg_create_restore_point($1)::text as lsn', [name])
    points.set(name, parseLsn(rows[0]!.lsn))
  }
  const nested = ['insert into t values (1)', 'savepoint a', 'insert into t values (2)', 'release savepoint a']
  const dropped = ['create table d (a int primary key, b text)', 'savepoint a', 'drop table d', 'savepoint b']

  await transaction('create', ['create table t (a int, b text)', 'alter table t alter b set storage external'])
  await transaction('insert', ['insert into t values (0)'])
  await transaction('abort', ['insert into t values (0)'], 'rollback')
  await transaction('savepoints', [...nested, 'savepoint b', 'insert into t values (3)', 'rollback to b'])
  await transaction('many subtransactions', [
    `do 'begin for i in 1..300 loop begin insert into t values (i); exception when others then null; end; end loop; end'`,
  ])
  await transaction('abort with savepoints', [...nested, ...dropped], 'rollback')
  await point(POINTS[0]!)
  await transaction('tables', ['create table a (a serial primary key, b text)', 'create table b as select 1 as a'])
  await transaction('drop', ['drop table a', 'drop table b', ...dropped])
  await client.query(`select pg_replication_origin_create('o')`)
  await client.query(`select pg_replication_origin_session_setup('o')`)
  await transaction('origin', [`select pg_replication_origin_xact_setup('16/B374D848', '2020-01-01')`, ...nested])
  await client.query('select pg_replication_origin_session_reset()')
  for (const [what, end] of [
    ['prepared', 'commit'],
    ['prepared abort', 'rollback'],
  ]) {
    await transaction(`${what} empty`, [], `prepare transaction '${what}'`)
    await client.query(`${end} prepared '${what}'`)
    const gid = `${what}-${'g'.repeat(150)}`
    const keep = [`create table ${end}_made (a int primary key)`, `drop table ${end}_old`]
    await transaction(`${what} needs`, [`create table ${end}_old (a serial primary key, b text)`])
    await transaction(what!, [...nested, ...dropped, ...keep], `prepare transaction '${gid}'`)
    // one that commits before it, so that order of begin and of end differ
    await transaction(`${what} between`, ['insert into t values (0)'])
    await client.query(`${end} prepared '${gid}'`)
  }
  await point(POINTS[1]!)
  await transaction('large', [`insert into t select i, repeat(md5(i::text), 20000) from generate_series(1, 3) i`])
  await transaction('pages', [`insert into t select i, md5(i::text) from generate_series(1, 5000) i`])
  await client.query(`select pg_logical_emit_message(false, 'test', repeat('x', 3000000))`)
  await client.query(`select pg_logical_emit_message(true, 'test', repeat('y', 1500000))`)
  await client.query(FILL)
  const crossing = await waitUntil('a commit record across a segment border', async () => {
    const xid = await transaction('crossing', ['insert into t values (0)', 'call fill(24)'])
    const at = Number((await positionOf(client)) % BigInt(SEGMENT))
    // the checkpointer or the writer may have used the room: then once more
    return at > 40 && at < 40 + 64 ? xid : undefined
  })
  await point(POINTS[2]!)
  await transaction('last', ['insert into t values (0)'])
  return { xids, points, crossing }
}

async function positionOf(client: Client): Promise<bigint> {
  const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn')
  return parseLsn(rows[0]!.lsn)
}

/** Writes WAL until `room` bytes of a segment are left: up to its last page, and then to the byte. */
const FILL = `
create procedure fill(room int) language plpgsql as $$
declare left_over int;
begin
  loop
    left_over := ${SEGMENT} - ((pg_current_wal_insert_lsn() - '0/0') % ${SEGMENT})::int;
    exit when left_over < 8192;
    perform pg_logical_emit_message(false, '', repeat('z', least(greatest(left_over - 8192, 200), 2000)));
  end loop;
  -- the headers of a record, of its data and of a message, and the end of an empty prefix
  perform pg_logical_emit_message(false, '', repeat('z', left_over - room - 24 - 5 - 24 - 1));
end $$`

/** Copies all WAL that the server has finished into a repository. */
async function archive(cluster: Cluster, storage: Storage, identity: ClusterIdentity, end: string): Promise<string[]> {
  const wal = path.join(cluster.pgdata, 'pg_wal')
  const names = readdirSync(wal).filter((name) => /^[0-9A-F]{24}$/.test(name) && name <= end)
  for (const name of names.sort()) {
    const read = await lookAtWalFile(path.join(wal, name))
    const file = parseWalFileName(name)!
    const options = { compressor: new WalCompressor(1), memory: new PushMemory() }
    await pushWalFile(storage, identity.name, file, path.join(wal, name), read, options)
  }
  return names
}

async function makeScene(major: number, storage: Storage): Promise<Scene> {
  const settings = {
    // an empty archive_command keeps everything in pg_wal
    archive_mode: 'on',
    archive_command: '',
    max_prepared_transactions: 5,
    track_commit_timestamp: 'on',
    autovacuum: 'off',
  }
  const cluster = await startCluster({ major, settings, walSegmentSizeMb: 1 })
  try {
    const client = await openClient(cluster)
    try {
      const from = await positionOf(client)
      const { xids, points, crossing } = await work(client)
      const to = await positionOf(client)
      const { rows } = await client.query<{ xid: string; time: string }>(
        `select xid::text, (extract(epoch from date_trunc('second', time))::bigint * 1000000
           + to_char(time, 'US')::bigint - 946684800000000)::text as time
         from unnest($1::xid[]) xid, pg_xact_commit_timestamp(xid) time where time is not null`,
        [[...xids.values()]],
      )
      const times = new Map(rows.map(({ xid, time }) => [Number(xid), BigInt(time)]))
      const last = segmentName(1, segmentNumberAt(to, SEGMENT), SEGMENT)
      await client.query('select pg_switch_wal()')
      const { rows: ids } = await client.query<{ id: string }>(
        'select system_identifier::text as id from pg_control_system()',
      )
      const facts = { major, systemIdentifier: BigInt(ids[0]!.id), walSegmentSize: SEGMENT }
      const identity = await claimIdentity(storage, facts)
      const segments = await archive(cluster, storage, identity, last)
      return { cluster, storage, identity, segments, xids, times, points, from, to, crossing }
    } finally {
      await client.end()
    }
  } catch (error) {
    await cluster.destroy()
    throw error
  }
}

for (const major of availableMajors()) {
  describe(`transactions in the archived WAL of PostgreSQL ${major}`, () => {
    let scene: Scene
    let repository: Awaited<ReturnType<typeof openDirectoryRepository>>
    let storage: Storage
    /** Everything there is, in the order of WAL. */
    let all: Found[]

    before(async () => {
      repository = await openDirectoryRepository()
      storage = await openStorage({ url: repository.url })
      scene = await makeScene(major, storage)
      all = (await scan(scene.segments)).sort((a, b) => (a.lsn < b.lsn ? -1 : 1))
    })
    after(async () => {
      await scene.cluster.destroy()
      storage.close()
      await repository[Symbol.asyncDispose]()
    })

    const scan = async (
      segments: readonly string[],
      match: (event: TransactionEvent) => boolean = () => true,
      onProgress?: (done: number, total: number) => void,
    ): Promise<Found[]> => {
      const found: Found[] = []
      const options = onProgress === undefined ? {} : { onProgress }
      for await (const event of scanTransactions(storage, scene.identity, segments, match, options)) found.push(event)
      return found
    }
    const endsOf = (xid: number): End[] =>
      all.filter((event): event is End => event.kind !== 'restore-point' && event.xid === xid)
    const crossing = (): End => endsOf(scene.crossing)[0]!

    it('finds each transaction once, with its end, and a time that the server confirms to the microsecond', () => {
      assert.ok(scene.times.size >= 12)
      for (const [what, xid] of scene.xids) {
        const ends = endsOf(xid)
        assert.equal(ends.length, 1, what)
        const [{ kind, prepared, microseconds, time, lsn, endLsn, segment }] = ends as [End]
        assert.equal(kind, /abort(?! between| needs)/.test(what) ? 'abort' : 'commit', what)
        assert.equal(prepared, /^prepared( abort)?( empty)?$/.test(what), what)
        // there it says when the origin committed, and recovery goes by this server's time
        if (kind === 'commit' && what !== 'origin') assert.equal(microseconds, scene.times.get(xid), what)
        assert.equal(BigInt(time.getTime()), microseconds / 1000n + 946_684_800_000n)
        assert.ok(lsn >= scene.from && endLsn <= scene.to && lsn < endLsn, what)
        assert.equal(segment, segmentName(1, segmentNumberAt(lsn, SEGMENT), SEGMENT))
      }
    })

    it('finds restore points where the server says that they end', () => {
      const found = all.filter((event) => event.kind === 'restore-point')
      assert.deepEqual(
        found.map(({ name, endLsn }) => [name, endLsn]),
        POINTS.map((name) => [name, scene.points.get(name)]),
      )
    })

    it('finds exactly the records that pg_waldump does', async (t) => {
      const oracles = requireOracles(t, major)
      if (oracles === undefined) return
      const wal = path.join(scene.cluster.pgdata, 'pg_wal')
      const range = [scene.segments[0]!, scene.segments.at(-1)!]
      const expected: string[] = []
      for (const rmgr of ['Transaction', 'XLOG']) {
        const args = ['--path', wal, '--rmgr', rmgr, ...range]
        const { exitCode, stdout, stderr } = await oracles.run('pg_waldump', args, { asServerUser: true })
        assert.equal(exitCode, 0, stderr)
        expected.push(...stdout.split('\n').flatMap(lineOf))
      }
      const ours = all.map((event) => {
        const [place, time] = [formatLsn(event.lsn), event.microseconds]
        if (event.kind === 'restore-point') return `${place} RESTORE_POINT ${event.name}`
        return `${place} ${event.kind.toUpperCase()}${event.prepared ? '_PREPARED' : ''} ${event.xid} ${time}`
      })
      assert.ok(expected.length > scene.xids.size)
      assert.deepEqual(ours.sort(), expected.sort())
    })

    it('finds a commit that lies across a segment border, where both segments are there', async () => {
      const { lsn, endLsn, segment } = crossing()
      assert.notEqual(segmentNumberAt(lsn, SEGMENT), segmentNumberAt(endLsn, SEGMENT))
      const until = scene.segments.indexOf(segment) + 1
      const match = (event: TransactionEvent): boolean => event.lsn === lsn
      assert.equal((await scan(scene.segments.slice(until - 1, until + 1), match)).length, 1)
      // recovery could not replay it
      assert.deepEqual(await scan(scene.segments.slice(0, until), match), [])
      const last = await findLastTransaction(storage, scene.identity, scene.segments.slice(0, until))
      assert.notEqual(last.event?.xid, scene.crossing)
      assert.ok(last.lastRecord!.endLsn <= lsn)
      const more = await findLastTransaction(storage, scene.identity, scene.segments.slice(0, until + 1))
      assert.ok(more.event!.lsn > lsn)
    })

    it('reads the newest segment first and no more than it is asked for', async () => {
      const progress: [number, number][] = []
      const found = await scan(
        scene.segments,
        (event) => event.kind === 'restore-point',
        (done, total) => progress.push([done, total]),
      )
      assert.deepEqual(
        found.map((event) => event.segment),
        found
          .map((event) => event.segment)
          .sort()
          .reverse(),
      )
      assert.deepEqual(
        progress,
        scene.segments.map((_, index) => [index + 1, scene.segments.length]),
      )
      const read: string[] = []
      const watched = Object.assign(Object.create(storage) as Storage, {
        get: (...[key, options]: Parameters<Storage['get']>) => {
          read.push(key)
          return storage.get(key, options)
        },
      })
      for await (const event of scanTransactions(watched, scene.identity, scene.segments, () => true)) {
        assert.equal(event.segment, scene.segments.at(-1))
        break
      }
      const keys = scene.segments.map((name) => walKey(scene.identity.name, parseWalFileName(name)!))
      assert.deepEqual(read.sort(), keys.slice(-4))
    })

    it('knows the last transaction and the last record', async () => {
      const last = await findLastTransaction(storage, scene.identity, scene.segments)
      const newest = all.filter((event) => event.kind !== 'restore-point').at(-1)!
      assert.equal(last.event?.xid, scene.xids.get('last'))
      assert.equal(last.event?.lsn, newest.lsn)
      assert.equal(last.event.microseconds, newest.microseconds)
      assert.equal(last.segmentsRead, 1)
      // the switch, which reaches to the end of its segment
      assert.equal(last.lastRecord?.endLsn, (segmentNumberAt(scene.to, SEGMENT) + 1n) * BigInt(SEGMENT))
    })

    it('goes back over segments in which no transaction ends, as far as it may', async () => {
      const ending = new Set(all.flatMap((event) => (event.kind === 'restore-point' ? [] : [event.segment])))
      // of two segments without any, the second: the message of three segments fills some
      const index = scene.segments.findIndex((name, at) => {
        return at > 1 && !ending.has(name) && !ending.has(scene.segments[at - 1]!)
      })
      assert.ok(index > 0)
      const upTo = scene.segments.slice(0, index + 1)
      const { event, lastRecord, segmentsRead } = await findLastTransaction(storage, scene.identity, upTo)
      const before = all.filter((each) => each.kind !== 'restore-point' && each.segment <= scene.segments[index]!)
      assert.equal(event?.lsn, before.at(-1)?.lsn)
      assert.ok(segmentsRead >= 3)
      assert.ok(lastRecord!.lsn >= event!.lsn)
      const less = await findLastTransaction(storage, scene.identity, upTo, { most: segmentsRead - 1 })
      assert.deepEqual([less.event, less.segmentsRead], [undefined, segmentsRead - 1])
      const none = { lastRecord: undefined, segmentsRead: 0 }
      assert.deepEqual(await findLastTransaction(storage, scene.identity, []), none)
      assert.deepEqual(await findLastTransaction(storage, scene.identity, upTo, { most: 0 }), none)
    })

    it('says that a segment is not there', async () => {
      const names = [...scene.segments, segmentName(1, 4000n, SEGMENT)]
      await assert.rejects(scan(names), NotFoundError)
      await assert.rejects(findLastTransaction(storage, scene.identity, names), NotFoundError)
    })
  })
}

/** `lsn kind xid microseconds` of a line of pg_waldump that is about a transaction's end, `lsn kind name` of a restore point. */
function lineOf(line: string): string[] {
  const record = /tx: +(\d+), lsn: (\S+), prev \S+, desc: (\S+) (.*)$/.exec(line)
  if (record === null) return []
  const [, xid, lsn = '', kind = '', rest = ''] = record
  const place = formatLsn(parseLsn(lsn))
  if (kind === 'RESTORE_POINT') return [`${place} ${kind} ${rest}`]
  if (!/^(COMMIT|ABORT)(_PREPARED)?$/.test(kind)) return []
  const facts = /^(?:gid \S+: )?(?:(\d+): )?(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.(\d{6}) UTC/.exec(rest)
  assert.ok(facts !== null, line)
  const [, prepared, date = '', time = '', fraction = ''] = facts
  const seconds = Date.parse(`${date}T${time}Z`) / 1000 - 946_684_800
  return [`${place} ${kind} ${prepared ?? xid} ${BigInt(seconds) * 1_000_000n + BigInt(fraction)}`]
}
