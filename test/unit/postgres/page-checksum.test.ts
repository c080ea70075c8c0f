import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPageChecker, pageChecksum, pageLsn, storedChecksum } from '#src/postgres/page-checksum.js'

const BLOCK = 8192

interface Memory {
  readonly buffer: ArrayBuffer
}

/** Node's types for version 20 leave it out. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (descriptor: { initial: number; maximum?: number }) => Memory }
}

/** Bytes that look random and are the same in every run. */
function fill(bytes: Uint8Array, seed: number): void {
  let state = seed | 1
  for (let index = 0; index < bytes.length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[index] = state
  }
}

/** Gives a page the right checksum for its block. */
function seal(page: Uint8Array, block: number): void {
  new DataView(page.buffer, page.byteOffset).setUint16(8, pageChecksum(page, block), true)
}

function memoryOfPages(count: number, blockSize = BLOCK): { memory: Memory; page: (index: number) => Uint8Array } {
  const pages = Math.ceil((count * blockSize) / 65536)
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
  return { memory, page: (index) => new Uint8Array(memory.buffer, index * blockSize, blockSize) }
}

test('pageChecksum() gives known values', () => {
  // An empty heap page as PageInit() makes it, LSN 0/0: pd_lower 24, pd_upper and pd_special 8192, size and version 8196.
  const page = new Uint8Array(BLOCK)
  const view = new DataView(page.buffer)
  view.setUint16(12, 24, true)
  view.setUint16(14, 8192, true)
  view.setUint16(16, 8192, true)
  view.setUint16(18, 8196, true)
  const sum = pageChecksum(page, 0)
  assert.ok(sum >= 1 && sum <= 65535)
  view.setUint16(8, 0xffff, true)
  assert.equal(pageChecksum(page, 0), sum) // pd_checksum itself does not count
  assert.equal(storedChecksum(page), 0xffff)
  assert.notEqual(pageChecksum(page, 1), sum)
})

test('pageLsn() puts the upper half first', () => {
  const page = new Uint8Array(BLOCK)
  const view = new DataView(page.buffer)
  view.setUint32(0, 0x16, true)
  view.setUint32(4, 0xb374d848, true)
  assert.equal(pageLsn(page), 0x16_b374_d848n)
})

test('the WebAssembly and the JavaScript agree on random pages of every block size', () => {
  for (const blockSize of [1024, 2048, 4096, 8192, 16384, 32768]) {
    const { memory, page } = memoryOfPages(64, blockSize)
    const checker = createPageChecker(memory, blockSize)
    for (const firstBlock of [0, 131072, 0xffff_ff00]) {
      for (let index = 0; index < 64; index++) {
        fill(page(index), firstBlock + index * 7 + blockSize)
        seal(page(index), firstBlock + index)
      }
      assert.equal(checker.firstBadPage(0, 64, firstBlock), -1)
      assert.equal(checker.firstBadPage(blockSize * 3, 61, firstBlock + 3), -1)
      assert.equal(checker.firstBadPage(0, 64, firstBlock + 1), 0)
    }
  }
})

test('firstBadPage() finds any flipped bit', () => {
  const { memory, page } = memoryOfPages(8)
  const checker = createPageChecker(memory, BLOCK)
  for (let index = 0; index < 8; index++) {
    fill(page(index), index + 99)
    seal(page(index), index)
  }
  for (let byte = 0; byte < BLOCK; byte += 61) {
    const index = byte % 8
    const bytes = page(index)
    const before = bytes[byte] ?? 0
    bytes[byte] = before ^ (1 << (byte % 7))
    assert.equal(checker.firstBadPage(0, 8, 0), index, `byte ${byte}`)
    bytes[byte] = before
  }
  assert.equal(checker.firstBadPage(0, 8, 0), -1)
})

test('firstBadPage() takes a page for new only if all of it is zero', () => {
  const { memory, page } = memoryOfPages(8)
  const checker = createPageChecker(memory, BLOCK)
  assert.equal(checker.firstBadPage(0, 8, 5), -1)
  assert.equal(checker.firstBadPage(0, 0, 5), -1)
  for (const byte of [0, 8, 12, 16, 31, 32, 4711, BLOCK - 1]) {
    const bytes = page(6)
    bytes[byte] = 1
    assert.equal(checker.firstBadPage(0, 8, 5), 6, `byte ${byte}`)
    bytes[byte] = 0
  }
})

test('firstBadPage() uses nothing but the pages: the last byte of memory may be theirs', () => {
  const { memory, page } = memoryOfPages(8)
  const checker = createPageChecker(memory, BLOCK)
  for (let index = 0; index < 8; index++) {
    fill(page(index), index + 1)
    seal(page(index), index)
  }
  const before = Buffer.from(memory.buffer).toString('latin1')
  assert.equal(checker.firstBadPage(0, 8, 0), -1)
  assert.equal(Buffer.from(memory.buffer).toString('latin1'), before)
  assert.equal(memory.buffer.byteLength, 65536)
})

test('createPageChecker() refuses an impossible block size', () => {
  for (const size of [0, 512, 8191, 65536]) {
    assert.throws(() => createPageChecker(new WebAssembly.Memory({ initial: 1 }), size), RangeError)
  }
})
