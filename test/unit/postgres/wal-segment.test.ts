import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseLsn } from '#src/postgres/lsn.js'
import {
  isWalSegmentSize,
  lastSegmentNumberBefore,
  parseWalFileName,
  segmentName,
  segmentNames,
  segmentNumberAt,
  segmentNumberOf,
} from '#src/postgres/wal-segment.js'

const MIB = 1024 * 1024
const SIZES = [1, 2, 4, 16, 64, 256, 512, 1024].map((mib) => mib * MIB)

test('parseWalFileName() knows the four kinds', () => {
  const parts = { timeline: 2, log: 0x16, segment: 0xb3 }
  assert.deepEqual(parseWalFileName('0000000200000016000000B3'), {
    kind: 'segment',
    name: '0000000200000016000000B3',
    ...parts,
  })
  assert.deepEqual(parseWalFileName('0000000200000016000000B3.partial'), {
    kind: 'partial',
    name: '0000000200000016000000B3.partial',
    ...parts,
  })
  assert.deepEqual(parseWalFileName('0000000200000016000000B3.00000028.backup'), {
    kind: 'backup',
    name: '0000000200000016000000B3.00000028.backup',
    ...parts,
    offset: 0x28,
  })
  assert.deepEqual(parseWalFileName('0000000A.history'), { kind: 'history', name: '0000000A.history', timeline: 10 })
})

test('parseWalFileName() refuses every other name', () => {
  const names = [
    '',
    '0000000200000016000000b3',
    '0000000200000016000000B',
    '0000000200000016000000B33',
    '0000000200000016000000B3 ',
    '0000000200000016000000B3\n',
    '0000000200000016000000B3.PARTIAL',
    '0000000200000016000000B3.partial.partial',
    '0000000200000016000000B3.backup',
    '0000000200000016000000B3.28.backup',
    '2.history',
    '0000000A.HISTORY',
    '../0000000A.history',
    'RECOVERYXLOG',
    'archive_status',
  ]
  for (const name of names) assert.equal(parseWalFileName(name), undefined, name)
})

test('isWalSegmentSize() takes powers of two from 1 MiB to 1 GiB', () => {
  for (const size of SIZES) assert.ok(isWalSegmentSize(size))
  for (const size of [0, -1, 1, MIB - 1, MIB / 2, 3 * MIB, 2048 * MIB, Number.NaN]) assert.ok(!isWalSegmentSize(size))
})

test('segment arithmetic at the edges of a segment', () => {
  const size = 16 * MIB
  const cases: [string, string, string][] = [
    // LSN, segment that holds it, segment that holds the byte before it (E4)
    ['0/0', '000000010000000000000000', '000000010000000000000000'],
    ['0/2000028', '000000010000000000000002', '000000010000000000000002'],
    ['0/3000000', '000000010000000000000003', '000000010000000000000002'],
    ['0/3000001', '000000010000000000000003', '000000010000000000000003'],
    ['1/0', '000000010000000100000000', '0000000100000000000000FF'],
  ]
  for (const [lsn, at, before] of cases) {
    assert.equal(segmentName(1, segmentNumberAt(parseLsn(lsn), size), size), at)
    assert.equal(segmentName(1, lastSegmentNumberBefore(parseLsn(lsn), size), size), before)
  }
})

test('names and numbers of segments are each other’s inverse in every size', () => {
  for (const size of SIZES) {
    const last = 2n ** 64n / BigInt(size) - 1n
    for (const number of [0n, 1n, 2n ** 32n / BigInt(size) - 1n, 2n ** 32n / BigInt(size), 123_456n, last]) {
      if (number > last) continue
      const file = parseWalFileName(segmentName(7, number, size))
      assert.ok(file?.kind === 'segment')
      assert.equal(file.timeline, 7)
      assert.equal(segmentNumberOf(file, size), number)
      assert.equal(segmentNumberAt(number * BigInt(size), size), number)
      assert.equal(lastSegmentNumberBefore((number + 1n) * BigInt(size), size), number)
    }
  }
})

test('segmentNumberOf() refuses a name that no segment of that size has', () => {
  assert.throws(() => segmentNumberOf({ log: 0, segment: 256 }, 16 * MIB), /no WAL segment of 16777216 bytes/)
  assert.equal(segmentNumberOf({ log: 0, segment: 256 }, MIB), 256n)
})

test('segmentNames() lists from the start to the byte before the stop', () => {
  const names = (start: string, stop: string) => segmentNames(1, parseLsn(start), parseLsn(stop), 16 * MIB)
  assert.deepEqual(names('0/2000028', '0/2000158'), ['000000010000000000000002'])
  assert.deepEqual(names('0/2000028', '0/3000000'), ['000000010000000000000002'])
  assert.deepEqual(names('0/2000028', '0/3000001'), ['000000010000000000000002', '000000010000000000000003'])
  assert.deepEqual(names('0/FF000028', '1/28'), ['0000000100000000000000FF', '000000010000000100000000'])
  assert.deepEqual(names('0/3000000', '0/3000000'), ['000000010000000000000003'])
  assert.throws(() => names('0/3000000', '0/2000000'), /ends before it begins/)
})
