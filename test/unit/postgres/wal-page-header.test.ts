import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseWalPageHeader, segmentProblem } from '#src/postgres/wal-page-header.js'

const SIZE = 16 * 1024 * 1024
const NAME = '000000020000000100000003'
const SYSTEM_IDENTIFIER = 7711101818810129140n

/** The 40 bytes at the beginning of segment NAME, with changes. */
function header(change: (bytes: Buffer) => void = () => undefined): Buffer {
  const bytes = Buffer.alloc(40)
  bytes.writeUInt16LE(0xd118, 0)
  bytes.writeUInt16LE(0x0002, 2)
  bytes.writeUInt32LE(2, 4)
  bytes.writeBigUInt64LE(0x1_0300_0000n, 8)
  bytes.writeBigUInt64LE(SYSTEM_IDENTIFIER, 24)
  bytes.writeUInt32LE(SIZE, 32)
  bytes.writeUInt32LE(8192, 36)
  change(bytes)
  return bytes
}

const facts = { name: NAME, size: SIZE, systemIdentifier: SYSTEM_IDENTIFIER, walSegmentSize: SIZE }

test('parseWalPageHeader() reads all fields, at any offset of its buffer', () => {
  const shifted = Buffer.concat([Buffer.alloc(3), header()]).subarray(3)
  assert.deepEqual(parseWalPageHeader(shifted), {
    magic: 0xd118,
    info: 2,
    timeline: 2,
    pageAddress: 0x1_0300_0000n,
    systemIdentifier: SYSTEM_IDENTIFIER,
    segmentSize: SIZE,
    blockSize: 8192,
  })
  assert.equal(parseWalPageHeader(header().subarray(0, 39)), undefined)
})

test('segmentProblem() finds nothing wrong with right segments', () => {
  assert.equal(segmentProblem(header(), facts), undefined)
  assert.equal(segmentProblem(header(), { name: NAME, size: SIZE }), undefined)
  assert.equal(segmentProblem(header(), { ...facts, name: `${NAME}.partial` }), undefined)
  for (const magic of [0xd106, 0xd10d, 0xd110, 0xd113, 0xd116, 0xd118, 0xd120]) {
    assert.equal(
      segmentProblem(
        header((bytes) => bytes.writeUInt16LE(magic, 0)),
        facts,
      ),
      undefined,
    )
  }
  // at a switch the segment begins with pages of the timeline before
  assert.equal(
    segmentProblem(
      header((bytes) => bytes.writeUInt32LE(1, 4)),
      facts,
    ),
    undefined,
  )
})

test('segmentProblem() names each violated rule', () => {
  const cases: [RegExp, Buffer, object?][] = [
    [/not the name of a WAL segment/, header(), { name: '00000002.history' }],
    [/not the name of a WAL segment/, header(), { name: `${NAME}.00000028.backup` }],
    [/it has 12 bytes, which is too short/, header().subarray(0, 12), { size: 12 }],
    [/magic number 0x0000/, Buffer.alloc(40)],
    [/magic number 0x18D1/, header((bytes) => bytes.writeUInt16BE(0xd118, 0))],
    [/no segment header/, header((bytes) => bytes.writeUInt16LE(0x0005, 2))],
    [/impossible segment size, 12345 bytes/, header((bytes) => bytes.writeUInt32LE(12345, 32))],
    [/segments of 1048576 bytes, the cluster has/, header((bytes) => bytes.writeUInt32LE(1024 * 1024, 32))],
    [/it has 16777215 bytes instead of 16777216/, header(), { size: SIZE - 1 }],
    [/it has 16777217 bytes instead of 16777216/, header(), { size: SIZE + 1 }],
    [/system identifier 1, not 7711101818810129140/, header((bytes) => bytes.writeBigUInt64LE(1n, 24))],
    [/no segment of 16777216 bytes has this name/, header(), { name: '000000020000000100000100' }],
    [/it begins at 1\/3000000, its name says 1\/4000000/, header(), { name: '000000020000000100000004' }],
    [/it is of timeline 2, its name says 1/, header(), { name: '000000010000000100000003' }],
  ]
  for (const [message, bytes, changes] of cases) {
    assert.match(segmentProblem(bytes, { ...facts, ...changes }) ?? 'nothing', message)
  }
})
