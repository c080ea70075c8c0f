/**
 * A stream over a range of an open file that fails where the file ends early.
 *
 * Not fs.createReadStream: that one ends without a word when the file was cut after it was opened.
 */
import type { FileHandle } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { ToolError } from '../errors.js'
import type { RateLimit } from '../streams/rate-limit.js'

const CHUNK_BYTES = 256 * 1024

/** Streams bytes `start` (included) to `end` (not included), and closes the file when the stream ends or is destroyed. */
export function readFileRange(
  file: FileHandle,
  options: {
    name: string
    start: number
    end: number
    signal?: AbortSignal | undefined
    limit?: RateLimit | undefined
  },
): Readable {
  const { name, start, end, signal, limit } = options
  let position = start
  let reading: Promise<void> = Promise.resolve()

  const readChunk = async (stream: Readable): Promise<void> => {
    try {
      if (position >= end) {
        stream.push(null)
        return
      }
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position))
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position)
      if (bytesRead === 0) {
        throw new ToolError('damaged', `"${name}" ended after ${position - start} of ${end - start} bytes`)
      }
      await limit?.take(bytesRead, signal)
      position += bytesRead
      stream.push(buffer.subarray(0, bytesRead))
    } catch (error) {
      stream.destroy(error as Error)
    }
  }

  const abort = (): void => {
    stream.destroy(signal?.reason as Error)
  }
  const stream = new Readable({
    highWaterMark: CHUNK_BYTES,
    read() {
      reading = readChunk(this)
    },
    destroy(error, callback) {
      signal?.removeEventListener('abort', abort)
      // a read in flight uses the descriptor; closed under it, its number could already be another file's
      void reading
        .then(() => file.close())
        .then(
          () => {
            callback(error)
          },
          (closing: unknown) => {
            callback(error ?? (closing as Error))
          },
        )
    },
  })
  signal?.addEventListener('abort', abort, { once: true })
  return stream
}
