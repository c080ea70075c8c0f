import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { WalRecord } from '#src/postgres/wal-records.js'
import { transactionEventOf } from '#src/postgres/wal-transactions.js'

/** 2026-11-22 18:45:01.123456 UTC. */
const MICROSECONDS = 848_688_301_123_456n
const TIME = new Date('2026-11-22T18:45:01.123Z')

const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * values.length)
  values.forEach((value, index) => bytes.writeUInt32LE(value, 4 * index))
  return bytes
}
const time = Buffer.alloc(8)
time.writeBigInt64LE(MICROSECONDS)

/** A record of a transaction at 0/100, which ends at 0/148. */
function record(info: number, parts: readonly Uint8Array[], resourceManager = 1): WalRecord {
  return { lsn: 0x100n, endLsn: 0x148n, xid: 700, resourceManager, info, data: Buffer.concat([time, ...parts]) }
}
const place = { time: TIME, microseconds: MICROSECONDS, lsn: 0x100n, endLsn: 0x148n }

/** Lists as xinfo announces them: what they hold is filled with what looks like counts. */
const list = (items: number, itemSize: number): Buffer => Buffer.concat([u32(items), Buffer.alloc(items * itemSize, 7)])

describe('transactionEventOf()', () => {
  it('knows commits and aborts, with further facts and without', () => {
    const xinfo = u32(0x4000_0001, 5, 1663)
    for (const parts of [[], [xinfo]]) {
      const flag = parts.length === 0 ? 0 : 0x80
      const event = { xid: 700, prepared: false, ...place }
      assert.deepEqual(transactionEventOf(record(flag, parts), 18), { kind: 'commit', ...event })
      assert.deepEqual(transactionEventOf(record(0x20 | flag, parts), 18), { kind: 'abort', ...event })
    }
  })

  const gid = Buffer.from('the name\0')
  const origin = Buffer.alloc(16, 9)
  for (const { major, statsSize } of [
    { major: 13, statsSize: undefined },
    { major: 14, statsSize: undefined },
    { major: 15, statsSize: 12 },
    { major: 16, statsSize: 12 },
    { major: 17, statsSize: 12 },
    { major: 18, statsSize: 16 },
  ]) {
    it(`finds the prepared transaction behind everything else (PostgreSQL ${major})`, () => {
      const stats = statsSize === undefined ? [] : [list(3, statsSize)]
      const always = 0b1111_0111 | (statsSize === undefined ? 0 : 0x100)
      const before = [u32(5, 1663), list(4, 4), list(2, 12), ...stats]
      const behind = [u32(0xffff_fff0), gid, origin]
      const event = { xid: 0xffff_fff0, prepared: true, ...place }
      assert.deepEqual(transactionEventOf(record(0xb0, [u32(always | 8), ...before, list(5, 16), ...behind]), major), {
        kind: 'commit',
        ...event,
      })
      assert.deepEqual(transactionEventOf(record(0xc0, [u32(always), ...before, ...behind]), major), {
        kind: 'abort',
        ...event,
      })
    })
  }

  it('finds the prepared transaction where there is nothing else', () => {
    const event = transactionEventOf(record(0xb0, [u32(0x10, 701)]), 18)
    assert.deepEqual(event, { kind: 'commit', xid: 701, prepared: true, ...place })
  })

  it('knows restore points by their name', () => {
    for (const name of ['before', 'vor dem Löschen', 'x'.repeat(63)]) {
      const field = Buffer.alloc(64, 'y')
      field.write(`${name}\0`)
      assert.deepEqual(transactionEventOf(record(0x70, [field], 0), 18), { kind: 'restore-point', name, ...place })
    }
  })

  it('rounds times down to the millisecond, and keeps what is stored', () => {
    const event = transactionEventOf({ ...record(0, []), data: Buffer.alloc(8) }, 18)
    assert.deepEqual([event?.time, event?.microseconds], [new Date('2000-01-01T00:00:00Z'), 0n])
  })

  it('makes nothing of other records', () => {
    for (const [info, resourceManager] of [
      [0x10, 1],
      [0x50, 1],
      [0x60, 1],
      [0x00, 0],
      [0x40, 0],
      [0xd0, 0],
      [0x00, 10],
      [0x70, 10],
    ] as const) {
      assert.equal(transactionEventOf(record(info, [u32(1, 2, 3)], resourceManager), 18), undefined)
    }
  })

  const short: { name: string; record: WalRecord }[] = [
    { name: 'no time', record: { ...record(0, []), data: Buffer.alloc(7) } },
    { name: 'no time of a restore point', record: { ...record(0x70, [], 0), data: Buffer.alloc(0) } },
    { name: 'no prepared transaction', record: record(0xb0, [u32(0)]) },
    { name: 'no facts', record: record(0x30, []) },
    { name: 'a list that is longer than the record', record: record(0xb0, [u32(0x12, 0xffff_ffff, 1)]) },
    { name: 'the end before the prepared transaction', record: record(0xb0, [u32(0x10), Buffer.alloc(3)]) },
  ]
  for (const { name, record: damaged } of short) {
    it(`refuses a record with ${name}`, () => {
      assert.throws(() => transactionEventOf(damaged, 18), {
        code: 'damaged',
        message: 'could not read the WAL record at 0/100: it is too short',
      })
    })
  }
})
