import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c, createFileChecksum, type ChecksumAlgorithm } from '#src/postgres/checksum.js'

const CHECK = Buffer.from('123456789')

test('crc32c() has the published check value and continues from a seed', () => {
  assert.equal(crc32c(CHECK), 0xe3069283)
  assert.equal(crc32c(Buffer.alloc(0)), 0)
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa) // RFC 3720, B.4
  for (let cut = 0; cut <= CHECK.length; cut++) {
    assert.equal(crc32c(CHECK.subarray(cut), crc32c(CHECK.subarray(0, cut))), 0xe3069283)
  }
})

test('createFileChecksum() spells checksums as a backup manifest does', () => {
  const cases: [ChecksumAlgorithm, string][] = [
    ['CRC32C', '839206e3'], // the lowest byte first (E13)
    ['SHA256', '15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225'],
  ]
  for (const [algorithm, hex] of cases) {
    const checksum = createFileChecksum(algorithm)
    const reused = Buffer.alloc(1)
    for (const byte of CHECK) {
      reused[0] = byte
      checksum.update(reused)
    }
    assert.equal(checksum.digest(), hex)
  }
  assert.equal(createFileChecksum('CRC32C').digest(), '00000000')
})
