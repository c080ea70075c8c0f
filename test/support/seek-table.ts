/**
 * The frames of a zstd object, read by zstd's own description of its formats and not by our code: the seek table at the
 * end (zstd's contrib/seekable_format), and the frames as they lie one after the other.
 */
import assert from 'node:assert/strict'

/** A frame as the seek table places it. */
export interface SeekTableFrame {
  /** Of its first byte in the object. */
  offset: number
  compressedSize: number
  /** Of its first byte in what the object decompresses to. */
  start: number
  size: number
}

const SKIPPABLE_MAGIC = 0x184d2a5e
const SEEKABLE_MAGIC = 0x8f92eab1
const FRAME_MAGIC = 0xfd2fb528

/** Reads the table; fails where the sizes in it do not add up to the object. */
export function readSeekTable(object: Buffer): SeekTableFrame[] {
  assert.equal(object.readUInt32LE(object.length - 4), SEEKABLE_MAGIC, 'the object ends with a seek table')
  assert.equal(object.readUInt8(object.length - 5), 0, 'without checksums in it')
  const count = object.readUInt32LE(object.length - 9)
  const table = object.length - 9 - count * 8
  assert.equal(object.readUInt32LE(table - 8), SKIPPABLE_MAGIC)
  assert.equal(object.readUInt32LE(table - 4), count * 8 + 9)
  let offset = 0
  let start = 0
  const frames = Array.from({ length: count }, (_, index) => {
    const [compressedSize, size] = [object.readUInt32LE(table + index * 8), object.readUInt32LE(table + index * 8 + 4)]
    const frame = { offset, compressedSize, start, size }
    offset += compressedSize
    start += size
    return frame
  })
  assert.equal(offset, table - 8, 'the frames fill the object up to the table')
  return frames
}

/** Where each zstd frame of an object begins, found by walking over their blocks (RFC 8878, section 3.1.1). */
export function zstdFrames(object: Buffer): number[] {
  const offsets: number[] = []
  let at = 0
  while (at < object.length) {
    if (object.readUInt32LE(at) !== FRAME_MAGIC) {
      at += 8 + object.readUInt32LE(at + 4)
      continue
    }
    offsets.push(at)
    const descriptor = object.readUInt8(at + 4)
    const isSingleSegment = (descriptor & 0x20) !== 0
    assert.ok((descriptor & 0x04) !== 0, 'the frame carries a checksum (format rule 3)')
    const sizeField = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!
    assert.ok(sizeField > 0, 'the frame says its size')
    at += 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]! + sizeField
    for (let isLast = false; !isLast;) {
      const header = object.readUIntLE(at, 3)
      isLast = (header & 1) === 1
      // A run-length block has one byte, however many it stands for.
      at += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3)
    }
    at += 4
  }
  return offsets
}
