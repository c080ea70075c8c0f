/**
 * What the in-process S3 endpoint keeps: bodies in memory or in files, objects and uploads by name.
 *
 * A completed upload refers to the bytes of its parts, so nothing is copied, however large it is.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { finished } from 'node:stream/promises'
import { crc32 } from 'node:zlib'

/** A run of bytes: in memory, or a whole file. */
type Segment = { size: number; chunks: Buffer[] } | { size: number; file: string }

export interface Body {
  size: number
  crc: number
  segments: Segment[]
}

export interface KeptObject {
  body: Body
  etag: string
  lastModified: Date
  checksum: string | undefined
}

export interface KeptUpload {
  bucket: string
  key: string
  id: string
  initiated: Date
  algorithm: string | undefined
  parts: Map<number, { body: Body; etag: string; checksum: string | undefined }>
}

export class EndpointStore {
  readonly buckets = new Map<string, Map<string, KeptObject>>()
  readonly uploads = new Map<string, KeptUpload>()
  readonly #directory: string | undefined

  constructor(directory: string | undefined) {
    this.#directory = directory
  }

  /** Takes a body in as it comes; rejects, keeping nothing, when it breaks. */
  async receive(source: AsyncIterable<Buffer>): Promise<Body> {
    let size = 0
    let crc = 0
    if (this.#directory === undefined) {
      const chunks: Buffer[] = []
      for await (const chunk of source) {
        chunks.push(chunk)
        size += chunk.length
        crc = crc32(chunk, crc)
      }
      return { size, crc, segments: [{ size, chunks }] }
    }
    await mkdir(this.#directory, { recursive: true })
    const file = join(this.#directory, `${randomBytes(8).toString('hex')}.body`)
    const out = createWriteStream(file, { highWaterMark: 1024 * 1024 })
    try {
      for await (const chunk of source) {
        size += chunk.length
        crc = crc32(chunk, crc)
        if (!out.write(chunk)) await once(out, 'drain')
      }
      out.end()
      await finished(out)
    } catch (error) {
      out.destroy()
      await rm(file, { force: true })
      throw error
    }
    return { size, crc, segments: [{ size, file }] }
  }

  /** Bytes `start` to `end` (not included) of a body. */
  async *read(body: Body, start: number, end: number): AsyncGenerator<Buffer> {
    let base = 0
    for (const segment of body.segments) {
      const from = Math.max(0, start - base)
      const to = Math.min(segment.size, end - base)
      base += segment.size
      if (from >= to) continue
      if ('file' in segment) {
        yield* createReadStream(segment.file, { start: from, end: to - 1, highWaterMark: 256 * 1024 })
        continue
      }
      let position = 0
      for (const chunk of segment.chunks) {
        const piece = chunk.subarray(Math.max(0, from - position), Math.max(0, to - position))
        position += chunk.length
        if (piece.length > 0) yield piece
      }
    }
  }

  async discard(body: Body | undefined): Promise<void> {
    for (const segment of body?.segments ?? []) if ('file' in segment) await rm(segment.file, { force: true })
  }
}

/** One body out of those of the parts. */
export function joined(bodies: Body[]): Body {
  return {
    size: bodies.reduce((sum, { size }) => sum + size, 0),
    crc: bodies.reduce((sum, { crc }) => crc32(encodedCrc(crc), sum), 0),
    segments: bodies.flatMap(({ segments }) => segments),
  }
}

/** A CRC32 as it travels in a header, before base64. */
export function encodedCrc(crc: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc)
  return bytes
}
