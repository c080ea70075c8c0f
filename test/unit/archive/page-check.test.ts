/** Page checksums of stored bytes, as verify judges them (V1): the restored pages of the same kinds as a backup meets. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { VerifyJob } from '#src/archive/jobs.js'
import { PageCheck } from '#src/archive/page-check.js'
import { pageChecksum } from '#src/postgres/page-checksum.js'

const BLOCK = 8192
const SEGMENT_BLOCKS = 131_072

/** Sound pages of LSN 0/1000, the first of which is that block of the relation. */
function pages(count: number, firstBlock = 0): Buffer {
  const bytes = randomBytes(count * BLOCK)
  for (let page = 0; page < count; page++) seal(bytes, page, firstBlock + page, 0x1000)
  return bytes
}

function seal(bytes: Buffer, page: number, block: number, lsn: number): void {
  const one = bytes.subarray(page * BLOCK, (page + 1) * BLOCK)
  one.writeUInt32LE(0, 0)
  one.writeUInt32LE(lsn, 4)
  one.writeUInt16LE(100, 14) // pd_upper: no new page
  one.writeUInt16LE(pageChecksum(one, block), 8)
}

/** What is found wrong with a file of these bytes, in pieces that are no pages; `undefined`: nothing. */
function judge(
  path: string,
  bytes: Buffer,
  knownPageErrors: VerifyJob['knownPageErrors'] = [],
): { place: string; problem: string } | 'not judged' | undefined {
  const job: VerifyJob = {
    ...{ kind: 'verify', key: 'key', checksumAlgorithm: 'CRC32C', knownPageErrors },
    pages: { blockSize: BLOCK, segmentBlocks: SEGMENT_BLOCKS, startLsn: '0/2000' },
    control: {
      ...{ systemIdentifier: '1', catalogVersion: 1, blockSize: BLOCK, walSegmentSize: 2 ** 24 },
      ...{ dataChecksums: true, checkpointLsn: '0/2000' },
    },
  }
  const check = PageCheck.of({ path, size: bytes.length, offset: 512, checksum: '' }, job)
  if (!check) return 'not judged'
  for (let at = 0; at < bytes.length; at += 5000) check.take(bytes.subarray(at, at + 5000))
  return check.problem()
}

function damaged(bytes: Buffer, ...blocks: number[]): Buffer {
  const copy = Buffer.from(bytes)
  for (const block of blocks) copy[block * BLOCK + 5000]! ^= 1
  return copy
}

for (const path of ['base/5/16384', 'base/5/16384_vm', 'global/1260', 'pg_tblspc/16401/PG_18_202506291/5/16384']) {
  test(`sound pages of ${path} are sound, and each flipped bit is found with its block and byte`, () => {
    const sound = pages(20)
    assert.equal(judge(path, sound), undefined)
    for (const block of [0, 7, 8, 19]) {
      const found = judge(path, damaged(sound, block))
      assert.ok(found !== undefined && found !== 'not judged')
      assert.equal(found.place, `block ${block}, byte ${block * BLOCK}`)
      assert.match(
        found.problem,
        /^the checksum of a page is \d+ instead of \d+, LSN 0\/1000, and the backup did not note it$/,
      )
    }
  })
}

test('blocks of a later segment of a relation are counted on from its first', () => {
  const first = 2 * SEGMENT_BLOCKS
  assert.equal(judge('base/5/16384.2', pages(3, first)), undefined)
  const found = judge('base/5/16384.2', damaged(pages(3, first), 1))
  assert.ok(found !== undefined && found !== 'not judged')
  assert.equal(found.place, `block ${first + 1}, byte ${BLOCK}`)
  assert.notEqual(judge('base/5/16384', pages(3, first)), undefined, 'pages of elsewhere')
})

test('a page whose header is zero and whose body is not is wrong, one that is all zero is new (C3)', () => {
  const bytes = pages(3)
  bytes.fill(0, BLOCK, 2 * BLOCK)
  assert.equal(judge('base/5/16384', bytes), undefined)
  bytes[BLOCK + 4000] = 1
  assert.notEqual(judge('base/5/16384', bytes), undefined)
})

test('a wrong page with an LSN from the start of the backup on is made anew by WAL (C4)', () => {
  const bytes = pages(3)
  seal(bytes, 1, 1, 0x2000)
  assert.equal(judge('base/5/16384', damaged(bytes, 1)), undefined)
  assert.notEqual(judge('base/5/16384', damaged(bytes, 1, 2)), undefined)
})

test('pages that the backup noted are known, and no others', () => {
  const bytes = damaged(pages(5), 1, 2)
  assert.equal(judge('base/5/16384', bytes, [{ path: 'base/5/16384', pages: 2, ranges: [[1, 2]] }]), undefined)
  const found = judge('base/5/16384', bytes, [{ path: 'base/5/16384', pages: 1, ranges: [[1, 1]] }])
  assert.ok(found !== undefined && found !== 'not judged')
  assert.match(found.place, /^block 2,/)
  assert.notEqual(judge('base/5/16384', bytes, [{ path: 'base/5/16385', pages: 2, ranges: [[1, 2]] }]), undefined)
})

test('what is no file of a relation, a temporary one, or one that ends inside a page is not judged (C2, C8)', () => {
  for (const path of [
    'global/pg_control',
    'base/5/PG_VERSION',
    'base/5/pg_filenode.map',
    'base/5/t3_16384',
    'pg_xact/0000',
  ])
    assert.equal(judge(path, damaged(pages(1), 0)), 'not judged', path)
  assert.equal(judge('base/5/16384', pages(2).subarray(100)), 'not judged')
})
