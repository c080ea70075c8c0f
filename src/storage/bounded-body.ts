/** The pieces of a body on their way into a file: as fast as they may go, and no more of them than were announced. */
import { ToolError } from '../errors.js'
import type { RateLimit } from '../streams/rate-limit.js'

/** What bounds a body. */
export interface BodyBounds {
  /** Bytes in all. */
  maxSize: number | undefined
  limit: RateLimit | undefined
  signal: AbortSignal | undefined
}

/** Throws ToolError `storage` at the first byte too many. */
export async function* boundedBody(
  key: string,
  chunks: AsyncIterable<Uint8Array>,
  { maxSize, limit, signal }: BodyBounds,
): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const chunk of chunks) {
    size += chunk.byteLength
    if (maxSize !== undefined && size > maxSize) throw tooLong(key, maxSize)
    await limit?.take(chunk.byteLength, signal)
    yield chunk
  }
}

/** Of an upload, the bound decided the part size too, so that a longer body could run out of part numbers after hours (O2). */
export function tooLong(key: string, maxSize: number): ToolError {
  return new ToolError('storage', `could not write "${key}": its body is longer than the ${maxSize} bytes announced`)
}
