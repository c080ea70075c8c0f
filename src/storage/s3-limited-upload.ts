/**
 * Request bodies that go out no faster than --max-rate.
 *
 * Below the SDK's retries, so that an attempt that failed counts as the bytes that it moved, and each attempt begins its
 * body anew (O4). Without a limit the body stays the buffer that it was: nothing is copied or cut.
 */
import type { S3Client } from '@aws-sdk/client-s3'
import { Readable } from 'node:stream'
import type { RateLimit } from '../streams/rate-limit.js'

/** Smaller bodies are requests rather than data: they pass. */
const SMALLEST_BODY_BYTES = 16 * 1024
const MOST_PIECE_BYTES = 1024 * 1024

/** Makes every request of this client obey the limit of the moment in which it is sent. */
export function limitUploads(client: S3Client, limit: RateLimit): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { body?: unknown }
      const { body } = request
      if (!limit.active || !(body instanceof Uint8Array) || body.byteLength < SMALLEST_BODY_BYTES) return next(args)
      const paced = Readable.from(pieces(body, limit), { objectMode: false })
      const copy: unknown = Object.assign(Object.create(Object.getPrototypeOf(request) as object) as object, request, {
        body: paced,
      })
      return next({ ...args, request: copy })
    },
    { step: 'deserialize', priority: 'low', name: 'pgsluiceMaxRate' },
  )
}

async function* pieces(body: Uint8Array, limit: RateLimit): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.byteLength;) {
    const piece = body.subarray(at, at + limit.pieceBytes(MOST_PIECE_BYTES))
    await limit.take(piece.byteLength)
    yield piece
    at += piece.byteLength
  }
}
