import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { crc32c } from '#src/postgres/checksum.js'
import { CONTROL_FILE_SIZE, parseControlFile, readControlFile } from '#src/postgres/control-file.js'

const CRC_OFFSETS: [version: number, crcOffset: number][] = [
  [1300, 288],
  [1700, 288],
  [1800, 292],
]

/** A pg_control of the given format, with a right CRC. */
function controlFile(version: number, crcOffset: number): Buffer {
  const bytes = Buffer.alloc(CONTROL_FILE_SIZE)
  bytes.writeBigUInt64LE(7711101818810129140n, 0)
  bytes.writeUInt32LE(version, 8)
  bytes.writeUInt32LE(202506291, 12)
  bytes.writeUInt32LE(5, 16)
  bytes.writeBigUInt64LE(0x16_b374_d848n, 32)
  bytes.writeBigUInt64LE(0x16_b374_d810n, 40)
  bytes.writeUInt32LE(3, 48)
  bytes.writeBigUInt64LE(0x16_c000_0000n, 136)
  bytes.writeUInt32LE(3, 144)
  bytes.writeUInt32LE(1, 172)
  bytes.writeUInt8(1, 176)
  ;[100, 8, 10, 2, 64].forEach((value, index) => bytes.writeUInt32LE(value, 180 + index * 4))
  ;[8192, 131072, 8192, 16777216].forEach((value, index) => bytes.writeUInt32LE(value, 216 + index * 4))
  bytes.writeUInt32LE(1, 252)
  bytes.fill(0xa5, 257, 289) // the nonce, whose end moves with the version
  if (crcOffset === 288) bytes.fill(0xa5, 256, 288)
  bytes.fill(0, crcOffset)
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, crcOffset)), crcOffset)
  return bytes
}

test('parseControlFile() reads each format', () => {
  for (const [version, crcOffset] of CRC_OFFSETS) {
    assert.deepEqual(parseControlFile(controlFile(version, crcOffset)), {
      systemIdentifier: 7711101818810129140n,
      controlVersion: version,
      catalogVersion: 202506291,
      state: { number: 5, text: 'in archive recovery' },
      checkpointLsn: 0x16_b374_d848n,
      checkpointRedoLsn: 0x16_b374_d810n,
      checkpointTimeline: 3,
      minRecoveryPoint: 0x16_c000_0000n,
      minRecoveryPointTimeline: 3,
      walLevel: 'replica',
      walLogHints: true,
      maxConnections: 100,
      maxWorkerProcesses: 8,
      maxWalSenders: 10,
      maxPreparedTransactions: 2,
      maxLocksPerTransaction: 64,
      blockSize: 8192,
      relationSegmentBlocks: 131072,
      walBlockSize: 8192,
      walSegmentSize: 16777216,
      dataChecksumVersion: 1,
    })
  }
})

test('parseControlFile() notices a change of any byte up to the CRC, and none after it', () => {
  for (const [version, crcOffset] of CRC_OFFSETS) {
    const bytes = controlFile(version, crcOffset)
    for (let offset = 0; offset < crcOffset + 4; offset++) {
      bytes[offset] = (bytes[offset] ?? 0) ^ 0x10
      assert.throws(() => parseControlFile(bytes), { name: 'ToolError' }, `format ${version}, byte ${offset}`)
      bytes[offset] = (bytes[offset] ?? 0) ^ 0x10
    }
    bytes[crcOffset + 4] = 1
    parseControlFile(bytes)
  }
})

test('parseControlFile() says why it refuses', () => {
  assert.throws(() => parseControlFile(Buffer.alloc(100)), { code: 'damaged', message: /only 100 bytes/ })
  assert.throws(() => parseControlFile(controlFile(1201, 288)), { code: 'refused', message: /version 1201/ })
  const swapped = controlFile(1800, 292)
  swapped.writeUInt32BE(1800, 8)
  assert.throws(() => parseControlFile(swapped), { code: 'refused', hint: /byte order/ })
})

test('readControlFile() reads again while the server writes, and gives up on bytes that stay wrong', async (t) => {
  const pgdata = await mkdtemp(join(tmpdir(), 'control-file-'))
  t.after(() => rm(pgdata, { recursive: true }))
  await mkdir(join(pgdata, 'global'))
  const path = join(pgdata, 'global', 'pg_control')
  const good = controlFile(1800, 292)
  const torn = Buffer.from(good)
  torn.fill(0xff, 32, 40)

  await assert.rejects(readControlFile(pgdata), { code: 'file-system', message: /pg_control.*ENOENT/ })

  await writeFile(path, good)
  const read = await readControlFile(pgdata)
  assert.ok(read.bytes.equals(good))
  assert.equal(read.control.checkpointTimeline, 3)

  await writeFile(path, torn)
  await assert.rejects(readControlFile(pgdata), { code: 'damaged', message: /pg_control.*CRC/ })

  await writeFile(path, torn)
  const repaired = readControlFile(pgdata)
  // at once and whole, before the timer of the second look
  setTimeout(() => writeFileSync(path, good), 10)
  assert.ok((await repaired).bytes.equals(good))

  await writeFile(path, torn)
  await assert.rejects(readControlFile(pgdata, { retries: 0 }), { code: 'damaged' })
})
