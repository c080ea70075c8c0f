import { createFrameMemory } from '#src/archive/archive-source.js'
import { PageVerification } from '#src/archive/page-verification.js'
import { pageChecksum } from '#src/postgres/page-checksum.js'
import { ExactFile } from '#src/streams/exact-length.js'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'

const BLOCK = 8192
const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-pages-'))
const file = path.join(home, '16384')
const memory = createFrameMemory()
after(() => rmSync(home, { recursive: true }))

/** Sound pages, the first of which is that block of the relation. */
function pages(count: number, firstBlock = 0): Buffer {
  const bytes = randomBytes(count * BLOCK)
  for (let page = 0; page < count; page++) {
    const one = bytes.subarray(page * BLOCK, (page + 1) * BLOCK)
    one.writeUInt16LE(100, 14) // pd_upper: no new page
    one.writeUInt16LE(pageChecksum(one, firstBlock + page), 8)
  }
  return bytes
}

async function verify(
  read: Buffer,
  onDisk: Buffer,
  firstBlock = 0,
): Promise<{ errors: PageVerification['errors']; archived: Buffer }> {
  writeFileSync(file, onDisk)
  const opened = ExactFile.open(Buffer.from(file), read.length)!
  try {
    const verification = new PageVerification(memory.checker(BLOCK), {
      blockSize: BLOCK,
      firstBlock,
      path: 'base/5/16384',
    })
    const bytes = memory.bytes.subarray(0, read.length)
    bytes.set(read)
    await verification.check(bytes, 0, 0, opened)
    return { errors: verification.errors, archived: Buffer.from(bytes) }
  } finally {
    opened.close()
  }
}

function damaged(bytes: Buffer, ...blocks: number[]): Buffer {
  const copy = Buffer.from(bytes)
  for (const block of blocks) copy[block * BLOCK + 5000]! ^= 1
  return copy
}

test('sound pages are sound, and are archived as they were read', async () => {
  const sound = pages(20)
  const { errors, archived } = await verify(sound, sound)
  assert.equal(errors, undefined)
  assert.ok(archived.equals(sound))
})

test('a page that stays wrong is corrupt; its block, both checksums and the runs are reported (C5, C10)', async () => {
  const sound = pages(20)
  const wrong = damaged(sound, 3, 4, 5, 9)
  const { errors, archived } = await verify(wrong, wrong)
  assert.deepEqual(errors?.ranges, [
    [3, 5],
    [9, 9],
  ])
  assert.equal(errors.pages, 4)
  assert.equal(errors.first.block, 3)
  assert.equal(errors.first.stored, sound.readUInt16LE(3 * BLOCK + 8))
  assert.equal(errors.first.computed, pageChecksum(wrong.subarray(3 * BLOCK, 4 * BLOCK), 3))
  assert.ok(archived.equals(wrong), 'it is archived as it is')
})

test('blocks of a later segment are numbered within the relation, not within the file (C1)', async () => {
  const wrong = damaged(pages(4, 131_072), 1)
  const { errors } = await verify(wrong, wrong, 131_072)
  assert.deepEqual(errors?.ranges, [[131_073, 131_073]])
  const elsewhere = await verify(pages(4, 131_072), pages(4, 131_072), 0)
  assert.equal(elsewhere.errors, undefined, 'pages that change are being written')
})

test('a page that reads differently the next time was being written: what was read last is archived (C5, C6)', async () => {
  const sound = pages(6)
  const torn = Buffer.from(sound)
  randomBytes(BLOCK / 2).copy(torn, 2 * BLOCK + BLOCK / 2)
  const { errors, archived } = await verify(torn, sound)
  assert.equal(errors, undefined)
  assert.ok(archived.equals(sound))
})

test('a page that is gone when it is looked at again was truncated away: zeros are archived (C4, F2)', async () => {
  const sound = pages(6)
  const { errors, archived } = await verify(damaged(sound, 5), sound.subarray(0, 5 * BLOCK))
  assert.equal(errors, undefined)
  assert.ok(archived.equals(Buffer.concat([sound.subarray(0, 5 * BLOCK), Buffer.alloc(BLOCK)])))
})

test('a page of zeros is new; one with a header of zeros and content is corrupt (C3)', async () => {
  const bytes = pages(3)
  bytes.fill(0, BLOCK, 2 * BLOCK)
  assert.equal((await verify(bytes, bytes)).errors, undefined)
  bytes.fill(7, BLOCK + 100, 2 * BLOCK)
  assert.deepEqual((await verify(bytes, bytes)).errors?.ranges, [[1, 1]])
})
