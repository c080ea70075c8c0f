/** How to open a repository's storage: plain data, so that it can be handed to a worker thread as it is. */

import type { SharedRate } from '../streams/rate-limit.js'

/** Everything that decides how the storage is reached. */
export interface StorageOptions {
  /** `s3://bucket/prefix` or `file:///path`. */
  url: string
  /** Endpoint other than AWS; default: the SDK's own chain (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, profile). */
  endpoint?: string | undefined
  region?: string | undefined
  profile?: string | undefined
  /** Path-style addressing; default: yes where an endpoint is set (by us or by the SDK's chain) that is not AWS's own. */
  pathStyle?: boolean | undefined
  /** Time to wait for the answer to one request, and for a connection that moves no byte. Default 60 s. */
  requestTimeoutMs?: number | undefined
  /** Attempts a request gets. Default 10. */
  maxAttempts?: number | undefined
  /** Bytes of one part of a multipart upload, grown where an object's bound asks for it. Default 8 MiB, at least 5 MiB. */
  partSizeBytes?: number | undefined
  /** Parts (and their buffers) in flight for one upload. Default 2. */
  partsInFlight?: number | undefined
  /** Limits what goes to the store and comes from it, over all threads that are given the same memory. Default: no limit. */
  rate?: SharedRate | undefined
  /** The quickest answer that another client of the same store had; decides how the first archive is cut. Default: unknown. */
  distanceMs?: number | undefined
  /** What this store was found able to do (profile/); what is undefined is taken as able. */
  abilities?: StoreAbilities | undefined
}

/** What an endpoint and bucket were found able to do. A probe decides, never the provider's name (O6). */
export interface StoreAbilities {
  /** `If-None-Match: *` is honoured by PutObject. */
  createOnlyPut: boolean
  /** `If-None-Match: *` is honoured by CompleteMultipartUpload. */
  createOnlyMultipart: boolean
  /** Checksum headers (x-amz-checksum-crc32) are taken. */
  checksumHeaders: boolean
}
