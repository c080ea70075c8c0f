/**
 * Checksums of data pages, in AssemblyScript: compiled to WebAssembly with SIMD, not by tsc.
 *
 * The 32 lanes of pg_checksum_block() (checksum_impl.h) are eight vectors kept in locals (C1). The imported memory is the
 * caller's from its first byte to its last: nothing here has static data, a stack or a heap in it, and so every constant
 * is a literal.
 */

const PRIME: i32 = 16777619

/** One round of the hash: mixes four words into four lanes. */
function mix(lanes: v128, words: v128): v128 {
  const t = v128.xor(lanes, words)
  return v128.xor(i32x4.mul(t, i32x4.splat(PRIME)), i32x4.shr_u(t, 17))
}

/** The two closing rounds with zeros, which spread the bits of the last words. */
function finish(lanes: v128): v128 {
  return mix(mix(lanes, i32x4.splat(0)), i32x4.splat(0))
}

/** pg_checksum_page(): of `size` bytes at `page`, as if pd_checksum were zero. */
function checksum(page: usize, size: usize, block: u32): u32 {
  let a = i32x4(0x5b1f36e9, 0xb8525960, 0x02ab50aa, 0x1de66d2a)
  let b = i32x4(0x79ff467a, 0x9bb9f8a3, 0x217e7cd2, 0x83e13d2c)
  let c = i32x4(0xf8d4474f, 0xe39eb970, 0x42c6ae16, 0x993216fa)
  let d = i32x4(0x7b093b5d, 0x98daff3c, 0xf718902a, 0x0b1c9cdb)
  let e = i32x4(0xe58f764b, 0x187636bc, 0x5d7b3bb1, 0xe73de7de)
  let f = i32x4(0x92bec979, 0xcca6c0b2, 0x304a0979, 0x85aa43d4)
  let g = i32x4(0x783125bb, 0x6ca8eaa2, 0xe407eac6, 0x4b5cfc3e)
  let h = i32x4(0x9fbf8c76, 0x15ca20be, 0xf2ca9fd3, 0x959bd756)
  const end = page + size
  // The first row stands alone, for pd_checksum counts as zero: the lower half of the third word.
  a = mix(a, v128.and(v128.load(page), i32x4(-1, -1, -65536, -1)))
  b = mix(b, v128.load(page, 16))
  c = mix(c, v128.load(page, 32))
  d = mix(d, v128.load(page, 48))
  e = mix(e, v128.load(page, 64))
  f = mix(f, v128.load(page, 80))
  g = mix(g, v128.load(page, 96))
  h = mix(h, v128.load(page, 112))
  for (let row = page + 128; row < end; row += 128) {
    a = mix(a, v128.load(row))
    b = mix(b, v128.load(row, 16))
    c = mix(c, v128.load(row, 32))
    d = mix(d, v128.load(row, 48))
    e = mix(e, v128.load(row, 64))
    f = mix(f, v128.load(row, 80))
    g = mix(g, v128.load(row, 96))
    h = mix(h, v128.load(row, 112))
  }
  let folded = v128.xor(
    v128.xor(v128.xor(finish(a), finish(b)), v128.xor(finish(c), finish(d))),
    v128.xor(v128.xor(finish(e), finish(f)), v128.xor(finish(g), finish(h))),
  )
  folded = v128.xor(folded, i64x2.shuffle(folded, folded, 1, 0))
  const sum = i32x4.extract_lane(folded, 0) ^ i32x4.extract_lane(folded, 1)
  return (((<u32>sum) ^ block) % 65535) + 1
}

/** Whether all bytes are zero. */
function isZero(page: usize, size: usize): bool {
  const end = page + size
  for (let row = page; row < end; row += 32) {
    if (v128.any_true(v128.or(v128.load(row), v128.load(row, 16)))) return false
  }
  return true
}

/**
 * Index of the first of `pageCount` pages at `offset` whose checksum is wrong, or -1. `firstBlock` is the block number of
 * the first page. pd_upper == 0 is a new page only if the whole page is zero (C3).
 */
export function firstBadPage(offset: usize, pageCount: i32, firstBlock: u32, blockSize: usize): i32 {
  let page = offset
  for (let index = 0; index < pageCount; index++) {
    if (load<u16>(page, 14) == 0) {
      if (!isZero(page, blockSize)) return index
    } else if (checksum(page, blockSize, firstBlock + index) != <u32>load<u16>(page, 8)) {
      return index
    }
    page += blockSize
  }
  return -1
}
