import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { continuationOf, readWalRecords, type WalRecord } from '#src/postgres/wal-records.js'
import { WalWriter } from '../../support/wal-writer.js'

/** RM_HEAP: any resource manager that is not asked about here. */
const RM_HEAP = 10
const PAGE = 8192

const noise = (size: number): Buffer => Buffer.alloc(size, 'wal record ')
const read = (segment: Uint8Array, next?: Uint8Array): WalRecord[] => [...readWalRecords(segment, next)]
const places = (records: readonly { lsn: bigint; endLsn: bigint }[]): { lsn: bigint; endLsn: bigint }[] =>
  records.map(({ lsn, endLsn }) => ({ lsn, endLsn }))

describe('readWalRecords()', () => {
  it('gives place, transaction, kind and main data of each record', () => {
    const wal = new WalWriter()
    const short = wal.append({ xid: 700, resourceManager: RM_HEAP, info: 0x81, data: noise(9) })
    const long = wal.append({ xid: 0xffff_fff0, data: noise(300) })
    const origin = wal.append({ data: noise(4), before: [253, 1, 0, 252, 1, 2, 3, 4] })
    const blocks = wal.append({ data: noise(4), before: [0, 0, 0, 0, ...noise(16)] })
    const empty = wal.append({})
    assert.deepEqual(
      read(wal.segment(0)).map((record) => ({ ...record, data: Buffer.from(record.data) })),
      [
        { lsn: short.lsn, endLsn: short.endLsn, xid: 700, resourceManager: RM_HEAP, info: 0x81, data: noise(9) },
        { lsn: long.lsn, endLsn: long.endLsn, xid: 0xffff_fff0, resourceManager: 1, info: 0, data: noise(300) },
        { lsn: origin.lsn, endLsn: origin.endLsn, xid: 0, resourceManager: 1, info: 0, data: noise(4) },
        { lsn: blocks.lsn, endLsn: blocks.endLsn, xid: 0, resourceManager: 1, info: 0, data: Buffer.alloc(0) },
        { lsn: empty.lsn, endLsn: empty.endLsn, xid: 0, resourceManager: 1, info: 0, data: Buffer.alloc(0) },
      ],
    )
    assert.equal(short.lsn, wal.start + 40n)
    assert.equal(short.endLsn % 8n, 0n)
  })

  it('reads a segment at any place of its buffer', () => {
    const wal = new WalWriter()
    const record = wal.append({ data: noise(20) })
    const shifted = Buffer.concat([Buffer.alloc(3), wal.segment(0)]).subarray(3)
    assert.deepEqual(places(read(shifted)), places([record]))
  })

  for (const blockSize of [4096, PAGE, 65536]) {
    it(`puts records together that a page border cuts anywhere, headers too (pages of ${blockSize} bytes)`, () => {
      for (let room = 8; room <= 64; room += 8) {
        const wal = new WalWriter({ blockSize })
        const before = wal.fillPage(room)
        const cut = wal.append({ xid: 701, data: noise(15) })
        const behind = wal.append({ xid: 702, data: noise(15) })
        const records = read(wal.segment(0))
        assert.deepEqual(places(records), places([before, cut, behind]), `${room} bytes left in the page`)
        assert.deepEqual(Buffer.from(records[1]!.data), noise(15))
        assert.equal(records[1]?.xid, 701)
      }
    })
  }

  it('ends a record at the border itself, and begins the next behind the header of the next page', () => {
    const wal = new WalWriter()
    const before = wal.fillPage(0)
    const behind = wal.append({ data: noise(15) })
    assert.equal(before.endLsn, wal.start + BigInt(PAGE))
    assert.equal(behind.lsn, wal.start + BigInt(PAGE + 24))
    assert.deepEqual(places(read(wal.segment(0))), places([before, behind]))
  })

  it('puts a record together that fills several pages', () => {
    const wal = new WalWriter()
    const large = wal.append({ data: noise(3 * PAGE) })
    const behind = wal.append({ data: noise(15) })
    const records = read(wal.segment(0))
    assert.deepEqual(places(records), places([large, behind]))
    assert.ok(Buffer.from(records[0]!.data).equals(noise(3 * PAGE)))
  })

  it('finishes a record with the bytes behind the segment, and only with those', () => {
    for (let room = 8; room <= 64; room += 8) {
      const wal = new WalWriter({ pages: 2 })
      const before = wal.append({ data: noise(5000) })
      const filler = wal.fillSegment(room)
      const cut = wal.append({ xid: 703, data: noise(60) })
      const behind = wal.append({ xid: 704 })
      const all = places([before, filler, cut])
      const continuation = continuationOf(wal.segment(1))
      assert.equal(continuation.length, PAGE)
      assert.deepEqual(places(read(wal.segment(0), continuation)), all)
      assert.deepEqual(places(read(wal.segment(0), wal.segment(1))), all)
      assert.deepEqual(places(read(wal.segment(0))), all.slice(0, -1), 'there is nothing behind the segment')
      const elsewhere = new WalWriter({ pages: 2, start: wal.start + 4n * BigInt(PAGE) })
      assert.deepEqual(places(read(wal.segment(0), elsewhere.segment(0))), all.slice(0, -1), 'another segment is')
      assert.deepEqual(places(read(wal.segment(1))), places([behind]))
    }
  })

  it('finishes a record that fills segments, and finds no record in those', () => {
    const wal = new WalWriter({ pages: 2 })
    const large = wal.append({ data: noise(5 * PAGE) })
    const behind = wal.append({})
    const [first, second, third] = [wal.segment(0), wal.segment(1), wal.segment(2)]
    assert.deepEqual(read(second), [])
    assert.deepEqual(places(read(third)), places([behind]))
    assert.deepEqual(places(read(first, Buffer.concat([second, continuationOf(third)]))), places([large]))
    assert.deepEqual(read(first, second), [])
    assert.equal(continuationOf(second).length, second.length)
    assert.equal(continuationOf(third).length, PAGE * 2)
    assert.equal(continuationOf(first).length, 0)
  })

  it('begins where the rest of an earlier record ends, be it at the end of a page', () => {
    for (const end of [0, 8, 16]) {
      const wal = new WalWriter({ pages: 2 })
      wal.fillSegment(64)
      // 40 of its bytes and the header of the next segment leave `end` bytes of that segment's first page
      wal.append({ data: noise(64 + PAGE - 40 - 24 - 5 - end) })
      const behind = wal.append({ data: noise(15) })
      assert.deepEqual(places(read(wal.segment(1))), places([behind]))
      assert.equal(continuationOf(wal.segment(1)).length, PAGE)
    }
  })

  it('goes on where a crash cut a record off, since the server writes no rest of it', () => {
    const wal = new WalWriter()
    const before = wal.append({ data: noise(100) })
    wal.fillPage(32)
    const kept = wal.last
    wal.appendAborted({ data: noise(100) })
    const behind = wal.append({ data: noise(15) })
    assert.deepEqual(places(read(wal.segment(0))), places([before, kept, behind]))
  })

  it('goes on at a segment border too, where a crash cut a record off', () => {
    const wal = new WalWriter({ pages: 2 })
    const before = wal.append({ data: noise(5000) })
    const filler = wal.fillSegment(32)
    wal.appendAborted({ data: noise(100) })
    const behind = wal.append({ data: noise(15) })
    assert.deepEqual(places(read(wal.segment(0), wal.segment(1))), places([before, filler]))
    assert.equal(continuationOf(wal.segment(1)).length, 0)
    assert.deepEqual(places(read(wal.segment(1))), places([behind]))
  })

  it('ends at a switch of segments, which reaches to the end of its own', () => {
    const wal = new WalWriter()
    const before = wal.append({ data: noise(10) })
    const change = wal.append({ resourceManager: 0, info: 0x40 })
    wal.append({ data: noise(10) })
    const end = wal.start + BigInt(wal.segment(0).length)
    assert.deepEqual(places(read(wal.segment(0))), [...places([before]), { lsn: change.lsn, endLsn: end }])
  })

  const PAGE_2 = 2 * PAGE
  /** The second page ends with a record, the third begins with one; the fourth is inside a large one. */
  const damages: { name: string; sabotage: (segment: Buffer) => void; left: number }[] = [
    { name: 'nothing', sabotage: () => undefined, left: 4 },
    { name: 'zeros from the third page on', sabotage: (bytes) => bytes.fill(0, PAGE_2), left: 2 },
    {
      name: 'a page of the WAL this file held before',
      sabotage: (bytes) => bytes.writeUIntLE(PAGE, PAGE_2 + 8, 6),
      left: 2,
    },
    { name: 'a page of another version', sabotage: (bytes) => bytes.writeUInt16LE(0xd116, PAGE_2), left: 2 },
    { name: 'a page that would go on with a record', sabotage: (bytes) => bytes.writeUInt16LE(1, PAGE_2 + 2), left: 2 },
    { name: 'a length of zero', sabotage: (bytes) => bytes.writeUInt32LE(0, PAGE_2 + 24), left: 2 },
    { name: 'a length below that of a header', sabotage: (bytes) => bytes.writeUInt32LE(23, PAGE_2 + 24), left: 2 },
    { name: 'a length beyond all WAL', sabotage: (bytes) => bytes.writeUInt32LE(0xffff_ffff, PAGE_2 + 24), left: 2 },
    { name: 'another byte of data', sabotage: (bytes) => bytes.writeUInt8(1, PAGE_2 + 24 + 30), left: 2 },
    { name: 'another transaction', sabotage: (bytes) => bytes.writeUInt8(1, PAGE_2 + 24 + 4), left: 2 },
    { name: 'another CRC', sabotage: (bytes) => bytes.writeUInt8(bytes[PAGE_2 + 44]! ^ 1, PAGE_2 + 44), left: 2 },
    { name: 'a rest that is not announced', sabotage: (bytes) => bytes.writeUInt16LE(0, 3 * PAGE + 2), left: 3 },
    { name: 'a rest of another length', sabotage: (bytes) => bytes.writeUInt32LE(1, 3 * PAGE + 16), left: 3 },
    { name: 'a rest on a page of other WAL', sabotage: (bytes) => bytes.writeUInt32LE(0, 3 * PAGE + 8), left: 3 },
    { name: 'an old first page', sabotage: (bytes) => bytes.writeUInt32LE(0, 40), left: 0 },
    { name: 'no header', sabotage: (bytes) => bytes.fill(0, 0, 40), left: 0 },
    { name: 'an impossible page size', sabotage: (bytes) => bytes.writeUInt32LE(12, 36), left: 0 },
  ]
  for (const { name, sabotage, left } of damages) {
    it(`ends at what is not WAL: ${name}`, () => {
      const wal = new WalWriter()
      const records = [wal.append({ data: noise(PAGE) }), wal.fillPage(0)]
      records.push(wal.append({ data: noise(100) }), wal.append({ data: noise(PAGE) }))
      const segment = wal.segment(0)
      sabotage(segment)
      assert.deepEqual(places(read(segment)), places(records.slice(0, left)))
    })
  }

  it('does not take a record of another chain for the next one', () => {
    const wal = new WalWriter()
    const before = wal.append({ data: noise(10) })
    wal.append({ data: noise(10), previous: wal.start })
    assert.deepEqual(places(read(wal.segment(0))), places([before]))
    const first = new WalWriter()
    first.append({ previous: first.start + 40n })
    assert.deepEqual(read(first.segment(0)), [])
  })

  it('finds nothing in what is no segment', () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(39),
      Buffer.alloc(PAGE),
      new WalWriter().segment(0).subarray(1),
    ]) {
      assert.deepEqual(read(bytes), [])
      assert.equal(continuationOf(bytes).length, 0)
    }
  })
})
