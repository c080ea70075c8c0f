/** What every S3 operation needs to know: the client, where the repository is, and what the store can do. */
import type { S3Client } from '@aws-sdk/client-s3'
import { crc32 } from '@node-rs/crc32'
import type { RateLimit } from '../streams/rate-limit.js'
import { FAR_MS } from './storage.js'
import type { StoreAbilities } from './storage-options.js'

/** Parts of an upload are numbered 1 to 10,000 (O2). */
const MAX_PARTS = 10_000
/** S3 refuses smaller parts, the last one apart (O2). */
const MIN_PART_BYTES = 5 * 1024 * 1024
/** Up to here one request is faster than an upload of parts, which takes three or more. */
export const SINGLE_PUT_BYTES = 32 * 1024 * 1024
const MEBIBYTE = 1024 * 1024
/** A link slower than this is taken as broken; a body gets its time on top of the request timeout. */
const SLOWEST_UPLOAD_BYTES_PER_MS = 128

export interface S3Access {
  client: S3Client
  bucket: string
  /** Begins every key in the bucket, with a `/` after it; may be empty. */
  prefix: string
  abilities: StoreAbilities
  requestTimeoutMs: number
  /** Of all that is sent and received. */
  limit: RateLimit | undefined
  partSizeBytes: number
  partsInFlight: number
  /** The quickest answer to a request without a body so far; Infinity before the first. */
  distance: { ms: number }
  /** Never use a single PutObject: for the probe of multipart uploads (inspect.ts). */
  alwaysMultipart: boolean
}

/** Bucket and full key, as every request about one object takes them. */
export function objectOf(access: S3Access, key: string): { Bucket: string; Key: string } {
  return { Bucket: access.bucket, Key: access.prefix + key }
}

/** The CRC32 as its header wants it, computed beforehand: never a trailer (format rule 1). */
export function checksumOf(access: S3Access, bytes: Uint8Array): { ChecksumCRC32?: string } {
  if (!access.abilities.checksumHeaders) return {}
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(bytes))
  return { ChecksumCRC32: checksum.toString('base64') }
}

/**
 * Options of a request with a body, which takes longer the longer it is. A body that we hold back ourselves may take any
 * time: a connection that moves nothing is still noticed by its own timeout.
 */
export function sendOptions(
  access: S3Access,
  { bytes = 0, signal }: { bytes?: number; signal?: AbortSignal | undefined } = {},
): { abortSignal?: AbortSignal; requestTimeout: number } {
  const isHeldBack = bytes > 0 && access.limit?.active === true
  const requestTimeout = isHeldBack ? 0 : access.requestTimeoutMs + Math.ceil(bytes / SLOWEST_UPLOAD_BYTES_PER_MS)
  return signal === undefined ? { requestTimeout } : { abortSignal: signal, requestTimeout }
}

/** Notes how long the answer to a request without a body takes. */
export async function timed<T>(access: S3Access, answer: Promise<T>): Promise<T> {
  const began = performance.now()
  const result = await answer
  access.distance.ms = Math.min(access.distance.ms, performance.now() - began)
  return result
}

/**
 * How an archive is cut: the configured parts, or of a far store smaller ones, as many more of them at a time as the same
 * memory holds. A connection moves no more than its window in each round trip, and rests while an answer is on its way.
 */
export function partsFor(access: S3Access, maxSize: number): { partSize: number; inFlight: number } {
  const configured = partSizeFor(access, maxSize)
  const smallest = partSizeFor({ ...access, partSizeBytes: MIN_PART_BYTES }, maxSize)
  const { ms } = access.distance
  const inFlight = Math.floor((access.partSizeBytes * access.partsInFlight) / smallest)
  if (ms < FAR_MS || ms === Infinity || inFlight <= access.partsInFlight) {
    return { partSize: configured, inFlight: access.partsInFlight }
  }
  return { partSize: smallest, inFlight }
}

/** The configured part size, or as much more as a body of this bound needs to fit into 10,000 parts (O2). */
export function partSizeFor(access: S3Access, maxSize: number | undefined): number {
  const needed = maxSize === undefined ? 0 : Math.ceil(maxSize / MAX_PARTS / MEBIBYTE) * MEBIBYTE
  return Math.max(MIN_PART_BYTES, access.partSizeBytes, needed)
}
