import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { segmentName, segmentNumberAt } from '#src/postgres/wal-segment.js'
import { findLastTransaction, scanTransactions } from '#src/repository/wal-search.js'
import type { Storage } from '#src/storage/storage.js'
import { WalWriter } from '../../support/wal-writer.js'
import { storeWal, WAL_CLUSTER, withDirectory } from './wal-scene.js'

const SEGMENT = WAL_CLUSTER.walSegmentSize
const START = 0x1_0050_0000n
const name = (index: number, timeline = 1): string =>
  segmentName(timeline, segmentNumberAt(START, SEGMENT) + BigInt(index), SEGMENT)

/** Main data of a commit at that time, in microseconds since 2000, with `size` bytes in all. */
function commitAt(microseconds: bigint, size = 8): Buffer {
  const data = Buffer.alloc(size)
  data.writeBigInt64LE(microseconds)
  return data
}

async function xids(storage: Storage, segments: readonly string[]): Promise<number[]> {
  const found: number[] = []
  for await (const event of scanTransactions(storage, WAL_CLUSTER, segments, () => true)) {
    if (event.kind !== 'restore-point') found.push(event.xid)
  }
  return found
}

describe('the search for transactions in the archive', () => {
  it('finds a commit whose record fills segments, read together or apart', async () => {
    await withDirectory(async ({ storage, directory }) => {
      for (const before of [0, 1, 2, 3]) {
        const wal = new WalWriter({ start: START, pages: 128 })
        for (let index = 0; index < before; index++) wal.fillSegment(0)
        wal.append({ xid: 700, data: commitAt(1n) })
        wal.append({ xid: 701, data: commitAt(2n, 3 * SEGMENT) })
        const names = Array.from({ length: before + 4 }, (_, index) => name(index))
        for (const [index, each] of names.entries()) await storeWal(storage, directory, each, wal.segment(index))
        assert.deepEqual(await xids(storage, names), [700, 701])
        assert.deepEqual(await xids(storage, names.slice(0, -1)), [700], 'its end is missing')
        const last = await findLastTransaction(storage, WAL_CLUSTER, names)
        assert.deepEqual([last.event?.xid, last.lastRecord?.lsn, last.segmentsRead], [701, wal.last.lsn, 4])
        await storage.delete(names.map((each) => `${WAL_CLUSTER.name}/wal/00000001/00000001/${each}.zst`))
      }
    })
  })

  it('finds a commit that begins before the timeline forks and ends behind', async () => {
    await withDirectory(async ({ storage, directory }) => {
      const wal = new WalWriter({ start: START, pages: 128 })
      wal.fillSegment(32)
      wal.append({ xid: 700, data: commitAt(1n, 100) })
      wal.append({ xid: 701, data: commitAt(2n) })
      await storeWal(storage, directory, name(0), wal.segment(0))
      await storeWal(storage, directory, name(1, 2), wal.segment(1))
      assert.deepEqual(await xids(storage, [name(0), name(1, 2)]), [701, 700])
    })
  })

  it('takes the newest time of a segment, which need not be in the last record', async () => {
    await withDirectory(async ({ storage, directory }) => {
      const wal = new WalWriter({ start: START, pages: 128 })
      for (const [xid, time] of [
        [700, 5n],
        [701, 9n],
        [702, 8n],
      ] as const) {
        wal.append({ xid, info: xid === 701 ? 0x20 : 0, data: commitAt(time) })
      }
      await storeWal(storage, directory, name(0), wal.segment(0))
      const { event, lastRecord } = await findLastTransaction(storage, WAL_CLUSTER, [name(0)])
      assert.deepEqual([event?.kind, event?.xid, event?.microseconds], ['abort', 701, 9n])
      assert.deepEqual(lastRecord, wal.last)
    })
  })

  it('passes over a record of more than 64 MiB, and finds what is around it', async () => {
    await withDirectory(async ({ storage, directory }) => {
      const wal = new WalWriter({ start: START, pages: 128 })
      wal.append({ xid: 700, data: commitAt(1n) })
      wal.append({ xid: 701, data: commitAt(2n, 66 * SEGMENT) })
      wal.append({ xid: 702, data: commitAt(3n) })
      const names = Array.from({ length: 67 }, (_, index) => name(index))
      for (const [index, each] of names.entries()) await storeWal(storage, directory, each, wal.segment(index))
      assert.deepEqual(await xids(storage, names), [702, 700])
    })
  })

  it('ends with the reason when it is told to', async () => {
    await withDirectory(async ({ storage, directory }) => {
      const wal = new WalWriter({ start: START, pages: 128 })
      wal.append({ xid: 700, data: commitAt(1n) })
      await storeWal(storage, directory, name(0), wal.segment(0))
      const reason = new Error('enough')
      const signal = AbortSignal.abort(reason)
      await assert.rejects(findLastTransaction(storage, WAL_CLUSTER, [name(0)], { signal }))
      const scan = scanTransactions(storage, WAL_CLUSTER, [name(0)], () => true, { signal })
      await assert.rejects(scan.next())
    })
  })
})
