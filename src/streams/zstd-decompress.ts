/**
 * Decompression with back-pressure: nothing is decompressed before the consumer asks for it, so that an object full of
 * zeros (64 KiB of it can become 2 GiB) never grows memory.
 *
 * An input that ends inside a frame, or holds no frame, is an error: a stream that ends early must never look like one
 * that ended (V3). Skippable frames (the seek table, the head of a WAL object) are passed over by zstd itself.
 */
import type { DCtx } from 'zstd-napi/binding.js'
import { reasonOf, ToolError } from '../errors.js'
import { zstd } from './zstd-binding.js'

/** Of zstd: ZSTD_d_forceIgnoreChecksum, which the binding has no name for. */
const IGNORE_CHECKSUM = 1002

/**
 * Decompresses `source` into `buffers` in turn: with one a piece is valid until the next is asked for, with two until the
 * one after that. Each frame starts at the beginning of one, so a frame that is no larger than that arrives whole and at
 * its (page-aligned) start. `checksums: false` leaves those of the frames, for who compares the content with others.
 * Throws ToolError `damaged`.
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  buffers: readonly [Uint8Array, ...Uint8Array[]],
  name: string,
  { checksums = true } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const context = new (zstd().DCtx)()
  if (!checksums) context.setParameter(IGNORE_CHECKSUM, 1)
  let turn = 0
  let buffer = buffers[0]
  let filled = 0
  let frameOpen = false
  let seen = false
  for await (const chunk of source) {
    let input = chunk
    let full = false
    // With room left, zstd has written all it has; with the buffer full it may hold more, so ask again without input.
    while (input.length > 0 || (frameOpen && full)) {
      const [left, produced, consumed] = step(context, buffer.subarray(filled), input, name)
      input = input.subarray(consumed)
      filled += produced
      full = filled === buffer.length
      frameOpen = left !== 0
      seen = true
      if (filled > 0 && (full || !frameOpen)) {
        yield buffer.subarray(0, filled)
        filled = 0
        turn = (turn + 1) % buffers.length
        buffer = buffers[turn] ?? buffer
      }
    }
  }
  if (frameOpen || !seen) {
    throw new ToolError(
      'damaged',
      `could not decompress "${name}": ${seen ? 'it ends inside a zstd frame' : 'it is empty'}`,
    )
  }
}

function step(context: DCtx, room: Uint8Array, input: Uint8Array, name: string): [number, number, number] {
  try {
    return context.decompressStream(room, input)
  } catch (cause) {
    throw new ToolError('damaged', `could not decompress "${name}": ${reasonOf(cause)}`, { cause })
  }
}
