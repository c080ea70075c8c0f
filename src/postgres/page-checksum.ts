/**
 * Data page checksums: verified in bulk by WebAssembly while pages are in memory anyway, and one by one in JavaScript.
 *
 * Every page is judged whatever its LSN (C5), and a page counts as new only if all of it is zero (C3): PostgreSQL skips
 * both a page with a garbage LSN and one with a zeroed header. What a wrong checksum means (a page that is being written,
 * or damage) only a second read can tell; that is up to the caller.
 */
import { readFileSync } from 'node:fs'
import type { Lsn } from './lsn.js'

/** Verifies pages that lie in a WebAssembly memory. */
export interface PageChecker {
  /**
   * Index of the first of `pageCount` pages from byte `offset` of the memory whose checksum is wrong, or -1.
   *
   * @param firstBlock block number of the first page in its fork: block in the file + segment × blocks per segment (C1)
   */
  firstBadPage(offset: number, pageCount: number, firstBlock: number): number
}

/** Where PageHeaderData (bufpage.h) has what is read here. */
const PD_CHECKSUM = 8

/** The module is compiled once a thread. */
let kernel: WebAssembly.Module | undefined

/**
 * A checker for pages of `blockSize` bytes in `memory`. It writes nothing there and keeps nothing there, so every byte
 * of the memory is the caller's. Memory that grows later is fine.
 *
 * @throws RangeError when no cluster has such a block size
 */
export function createPageChecker(memory: WebAssembly.Memory, blockSize: number): PageChecker {
  // The limits of configure --with-blocksize. Each is a multiple of the 128 bytes that one round takes.
  if (blockSize < 1024 || blockSize > 32768 || !Number.isInteger(Math.log2(blockSize))) {
    throw new RangeError(`no cluster has a block size of ${blockSize} bytes`)
  }
  kernel ??= new WebAssembly.Module(readFileSync(new URL('page-checksum.wasm', import.meta.url)))
  const exports = new WebAssembly.Instance(kernel, { env: { memory } }).exports
  const firstBadPage = exports['firstBadPage'] as (
    offset: number,
    pageCount: number,
    firstBlock: number,
    blockSize: number,
  ) => number
  return {
    firstBadPage: (offset, pageCount, firstBlock) => firstBadPage(offset, pageCount, firstBlock, blockSize),
  }
}

/** FNV-1a's prime, as in checksum_impl.h. */
const PRIME = 16777619

/** The published seeds of the 32 lanes, checksumBaseOffsets in checksum_impl.h. */
// prettier-ignore
const LANE_SEEDS = [
  0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a, 0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c,
  0xf8d4474f, 0xe39eb970, 0x42c6ae16, 0x993216fa, 0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb,
  0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de, 0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4,
  0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e, 0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756,
]

/**
 * The checksum a page should have (pg_checksum_page() in checksum_impl.h), 1…65535. Slow and independent of the
 * WebAssembly: it is for reports, and for proving the other right. Not meaningful for a new page.
 */
export function pageChecksum(page: Uint8Array, blockNumber: number): number {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
  const lanes = Int32Array.from(LANE_SEEDS)
  for (let offset = 0; offset < page.byteLength; offset += 128) {
    for (let lane = 0; lane < 32; lane++) {
      let word = view.getUint32(offset + lane * 4, true)
      // pd_checksum, the lower half of this word, counts as zero.
      if (offset === 0 && lane === PD_CHECKSUM / 4) word &= 0xffff0000
      lanes[lane] = mix(lanes[lane] ?? 0, word)
    }
  }
  let result = blockNumber
  for (const lane of lanes) result ^= mix(mix(lane, 0), 0)
  return ((result >>> 0) % 65535) + 1
}

/** The checksum that a page carries (pd_checksum). */
export function storedChecksum(page: Uint8Array): number {
  return new DataView(page.buffer, page.byteOffset, page.byteLength).getUint16(PD_CHECKSUM, true)
}

/** The LSN that a page carries (pd_lsn): two 32-bit halves, the upper one first. */
export function pageLsn(page: Uint8Array): Lsn {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength)
  return (BigInt(view.getUint32(0, true)) << 32n) | BigInt(view.getUint32(4, true))
}

/** One round of the hash (CHECKSUM_COMP). */
function mix(lane: number, word: number): number {
  const t = lane ^ word
  return Math.imul(t, PRIME) ^ (t >>> 17)
}
