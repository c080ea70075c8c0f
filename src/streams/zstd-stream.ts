/** Compresses a sequence of chunks into frames of a bounded size, for objects whose length is not known beforehand. */
import { FrameCompressor } from './zstd-compress.js'

const FRAME_BYTES = 1024 * 1024
/** Pieces that lib-storage takes without copying them twice (architecture: storage interface). */
const PIECE_BYTES = 128 * 1024

/** Compressed pieces of at most 128 KiB. An empty source gives one empty frame, which `zstd -d` takes as empty. */
export async function* compressStream(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: { level: number },
): AsyncGenerator<Buffer, void, undefined> {
  const compressor = new FrameCompressor(options)
  const frame = Buffer.allocUnsafe(FRAME_BYTES)
  let filled = 0
  function* flush(): Generator<Buffer> {
    compressor.begin(frame.subarray(0, filled))
    filled = 0
    while (compressor.open) {
      const piece = Buffer.allocUnsafe(PIECE_BYTES)
      yield piece.subarray(0, compressor.drain(piece))
    }
  }
  for await (const chunk of chunks) {
    let rest = chunk
    while (rest.length > 0) {
      const part = rest.subarray(0, FRAME_BYTES - filled)
      frame.set(part, filled)
      filled += part.length
      rest = rest.subarray(part.length)
      if (filled === FRAME_BYTES) yield* flush()
    }
  }
  if (filled > 0 || compressor.frames.length === 0) yield* flush()
}
