/**
 * Text as UTF-8 in chunks, all in the same memory: of an index of a million files the chunks would otherwise be 200 MB, of
 * which the collector leaves up to 64 lying about. Each piece is encoded as it comes, since text that is put together first
 * outlives the young generation of the heap.
 */

const CHUNK_BYTES = 64 * 1024
/** Most bytes that a UTF-16 unit becomes. */
const UNIT_BYTES = 3

/** Chunks of at most 64 KiB, or of one longer text; each is overwritten when the next is asked for. */
export function* textChunks(texts: Iterable<string>): Generator<Buffer, void, undefined> {
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  let filled = 0
  for (const text of texts) {
    const most = text.length * UNIT_BYTES
    if (filled > 0 && filled + most > CHUNK_BYTES) {
      yield chunk.subarray(0, filled)
      filled = 0
    }
    if (most > CHUNK_BYTES) yield Buffer.from(text)
    else filled += chunk.write(text, filled)
  }
  if (filled > 0) yield chunk.subarray(0, filled)
}
