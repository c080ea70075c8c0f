/** What tests can say to the in-process S3 endpoint, and what its operations see of a request. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'

/** A request as fault rules see it. */
export interface EndpointRequest {
  /** Name of the S3 operation: `PutObject`, `UploadPart` … */
  operation: string
  method: string
  bucket: string
  key: string
  query: URLSearchParams
  headers: IncomingHttpHeaders
}

/** What goes wrong. Unless said otherwise the request has no effect. */
export type FaultAction =
  /** The connection is reset before an answer. */
  | 'reset'
  /** Nothing is read and nothing is said. */
  | 'stall'
  /** The request takes effect, and the connection is reset before its answer. */
  | 'lose-answer'
  /** Status 200 with an error in the body, as CompleteMultipartUpload can answer (O1). */
  | 'error-in-200'
  /** As if the header were not there. */
  | 'ignore-if-none-match'
  /** CompleteMultipartUpload answers without an ETag. */
  | 'no-etag'
  /** CompleteMultipartUpload forgets the last part. */
  | 'drop-last-part'
  /** DeleteObjects answers 200 and says of each key that it was denied. */
  | 'deny-each-key'
  | { status: number; code: string; headers?: Record<string, string> }
  /** GetObject: so many bytes of the body, then a reset. Uploads: so many bytes read, then a reset. */
  | { cutBodyAfter: number }
  /** As `cutBodyAfter`, but the connection stays open and still. */
  | { stallBodyAfter: number }

export interface FaultRule {
  match: (request: EndpointRequest) => boolean
  /** How often it strikes. Default: always. */
  times?: number
  action: FaultAction
}

/** Ways in which real stores are weaker than AWS (test-servers.md). */
export interface Weaknesses {
  ignoreIfNoneMatch?: boolean
  ignoreIfNoneMatchOnComplete?: boolean
  /** 400 to every request with x-amz-checksum-* or x-amz-sdk-checksum-*. */
  rejectChecksumHeaders?: boolean
  /** DeleteObjects is not implemented. */
  noDeleteObjects?: boolean
  /** What a GET of a missing key gives instead of 404 NoSuchKey. */
  notFound?: { status: number; code: string; headers?: Record<string, string> }
  ignoreRange?: boolean
  ignoreIfMatch?: boolean
  /** Deletions are refused. */
  noDelete?: boolean
  /** How far its clock is ahead, as its answers tell the time. */
  clockAheadMs?: number
  /** Listings come in the order of writing. */
  unorderedLists?: boolean
}

export interface EndpointOptions {
  /** Keep bodies in files below this directory rather than in memory. They do not outlive the endpoint. */
  directory?: string
  /** Most keys of one page. Default 1000, as S3. */
  pageSize?: number
  /** Only this access key is accepted. Default: any, and no check of the signature in either case. */
  accessKeyId?: string
  weaknesses?: Weaknesses
  /** Default: a free port of 127.0.0.1. */
  port?: number
}

/** Everything that an operation needs. */
export interface Exchange {
  request: EndpointRequest
  incoming: IncomingMessage
  response: ServerResponse
  /** The fault that applies, for those that an operation acts out itself. */
  fault: FaultAction | undefined
}

/** An answer that is an error document. */
export class S3Refusal extends Error {
  readonly status: number
  readonly code: string
  readonly headers: Record<string, string>
  constructor(status: number, code: string, headers: Record<string, string> = {}) {
    super(code)
    this.status = status
    this.code = code
    this.headers = headers
  }
}
