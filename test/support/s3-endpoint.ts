/**
 * An S3 endpoint in this process, to be told what to do wrong.
 *
 * Serves what pgsluice uses of S3, path style, over plain http on a random port of 127.0.0.1, and as strictly as AWS
 * where strictness finds mistakes: checksums are compared, trailers refused, DeleteObjects wants a digest.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { finished } from 'node:stream/promises'
import { OPERATIONS, sendError } from './s3-endpoint-operations.js'
import type { Shop } from './s3-endpoint-operations.js'
import { EndpointStore } from './s3-endpoint-store.js'
import type { Body } from './s3-endpoint-store.js'
import { S3Refusal } from './s3-endpoint-types.js'
import type { EndpointOptions, EndpointRequest, Exchange, FaultRule, Weaknesses } from './s3-endpoint-types.js'

export type { EndpointOptions, EndpointRequest, FaultAction, FaultRule, Weaknesses } from './s3-endpoint-types.js'

/** Sets credentials that every endpoint of ours takes, and shuts out those of the machine that runs the tests. */
export function useTestCredentials(): void {
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  })
  for (const name of ['AWS_SESSION_TOKEN', 'AWS_PROFILE', 'AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3', 'AWS_REGION']) {
    Reflect.deleteProperty(process.env, name)
  }
}

export class S3Endpoint {
  readonly url: string
  /** Every request that came, in order. */
  readonly requests: EndpointRequest[] = []
  /** May be changed at any time. */
  readonly weaknesses: Weaknesses
  /** How buckets are set up, as XML by the operation that asks (`GetBucketVersioning`); may be changed at any time. */
  readonly bucketSetup = new Map<string, string>()
  readonly #server: Server
  readonly #store: EndpointStore
  readonly #shop: Shop
  readonly #options: EndpointOptions
  #faults: (FaultRule & { left: number })[] = []

  static async start(options: EndpointOptions = {}): Promise<S3Endpoint> {
    const server = createServer({ keepAliveTimeout: 60_000, highWaterMark: 256 * 1024 })
    server.listen(options.port ?? 0, '127.0.0.1')
    await once(server, 'listening')
    return new S3Endpoint(server, options)
  }

  private constructor(server: Server, options: EndpointOptions) {
    this.#server = server
    this.#options = options
    this.weaknesses = { ...options.weaknesses }
    this.#store = new EndpointStore(options.directory)
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    this.#shop = {
      store: this.#store,
      weaknesses: this.weaknesses,
      bucketSetup: this.bucketSetup,
      pageSize: options.pageSize ?? 1000,
      receive: (exchange) => this.#receive(exchange),
    }
    server.on('request', (incoming: IncomingMessage, response: ServerResponse) => {
      void this.#handle(incoming, response)
    })
  }

  async close(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  createBucket(name: string): void {
    if (!this.#store.buckets.has(name)) this.#store.buckets.set(name, new Map())
  }

  /** Adds a rule; those added first come first. */
  fault(rule: FaultRule): void {
    this.#faults.push({ ...rule, left: rule.times ?? Infinity })
  }

  clearFaults(): void {
    this.#faults = []
  }

  /** How many requests of an operation came. */
  count(operation: string): number {
    return this.requests.filter((request) => request.operation === operation).length
  }

  /** Multipart uploads that were begun and neither completed nor aborted. */
  openUploads(): { bucket: string; key: string; uploadId: string; parts: number }[] {
    return [...this.#store.uploads.values()].map(({ bucket, key, id, parts }) => ({
      bucket,
      key,
      uploadId: id,
      parts: parts.size,
    }))
  }

  keys(bucket: string): string[] {
    return [...(this.#store.buckets.get(bucket)?.keys() ?? [])].sort()
  }

  /** The bytes of an object, or undefined. */
  async get(bucket: string, key: string): Promise<Buffer | undefined> {
    const object = this.#store.buckets.get(bucket)?.get(key)
    if (object === undefined) return undefined
    const chunks: Buffer[] = []
    for await (const chunk of this.#store.read(object.body, 0, object.body.size)) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** Replaces or makes an object behind the back of every client. */
  async set(bucket: string, key: string, bytes: Uint8Array): Promise<void> {
    this.createBucket(bucket)
    const body = await this.#store.receive(chunksOf(bytes))
    const etag = `"${body.crc.toString(16)}${body.size.toString(16)}"`
    this.#store.buckets.get(bucket)?.set(key, { body, etag, lastModified: new Date(), checksum: undefined })
  }

  /** As if everything had been stored an hour ago: what is missing then is no more on its way. */
  makeOld(bucket: string): void {
    const hourAgo = new Date(Date.now() - 3_600_000)
    for (const object of this.#store.buckets.get(bucket)?.values() ?? []) object.lastModified = hourAgo
  }

  delete(bucket: string, key: string): void {
    this.#store.buckets.get(bucket)?.delete(key)
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = requestOf(incoming)
    this.requests.push(request)
    const rule = this.#faults.find(({ match, left }) => left > 0 && match(request))
    if (rule !== undefined) rule.left -= 1
    const exchange: Exchange = { request, incoming, response, fault: rule?.action }
    const { clockAheadMs = 0 } = this.weaknesses
    if (clockAheadMs !== 0) response.setHeader('date', new Date(Date.now() + clockAheadMs).toUTCString())
    incoming.on('error', () => undefined) // connections that clients cut are part of the tests
    response.on('error', () => undefined)
    try {
      await this.#answer(exchange)
    } catch (error) {
      if (response.headersSent || response.destroyed || incoming.socket.destroyed) {
        response.destroy()
        return
      }
      await drained(incoming)
      sendError(exchange, error instanceof S3Refusal ? error : new S3Refusal(500, `InternalError: ${String(error)}`))
    }
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { request, incoming, fault } = exchange
    if (fault === 'stall') {
      incoming.pause()
      return
    }
    if (fault === 'reset') {
      incoming.socket.resetAndDestroy()
      return
    }
    if (fault === 'error-in-200') throw new S3Refusal(200, 'InternalError')
    if (typeof fault === 'object' && 'status' in fault) throw new S3Refusal(fault.status, fault.code, fault.headers)
    this.#checkHeaders(request)
    const operation = OPERATIONS[request.operation]
    if (operation === undefined) throw new S3Refusal(501, 'NotImplemented')
    await operation(this.#shop, exchange)
  }

  #checkHeaders({ headers }: EndpointRequest): void {
    const { accessKeyId } = this.#options
    const used = /Credential=([^/]+)\//.exec(headers.authorization ?? '')?.[1]
    if (used === undefined) throw new S3Refusal(403, 'AccessDenied')
    if (accessKeyId !== undefined && used !== accessKeyId) throw new S3Refusal(403, 'InvalidAccessKeyId')
    if (headers['x-amz-trailer'] !== undefined || headers['content-encoding'] === 'aws-chunked') {
      throw new S3Refusal(501, 'NotImplemented')
    }
    const hasChecksum = Object.keys(headers).some((name) => /^x-amz-(sdk-)?checksum-/.test(name))
    if (hasChecksum && this.weaknesses.rejectChecksumHeaders === true) throw new S3Refusal(400, 'InvalidArgument')
  }

  async #receive({ incoming, fault }: Exchange): Promise<Body> {
    if (typeof fault !== 'object' || !('cutBodyAfter' in fault || 'stallBodyAfter' in fault)) {
      return this.#store.receive(incoming)
    }
    const limit = 'cutBodyAfter' in fault ? fault.cutBodyAfter : fault.stallBodyAfter
    let received = 0
    for await (const chunk of incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      received += chunk.length
      if (received >= limit) break
    }
    if ('cutBodyAfter' in fault) incoming.socket.resetAndDestroy()
    else incoming.pause()
    await once(incoming, 'close')
    throw new Error('cut')
  }
}

/** An answer before the end of the body would race with a reset of the connection. */
async function drained(incoming: IncomingMessage): Promise<void> {
  if (incoming.destroyed) return
  incoming.resume()
  await finished(incoming).catch(() => undefined) // the client may go; then nobody waits for the answer
}

/** Which operation a request is, from its method, path and query. */
function requestOf(incoming: IncomingMessage): EndpointRequest {
  const [path = '', search = ''] = (incoming.url ?? '').split('?')
  const [bucket = '', ...rest] = path.slice(1).split('/')
  const query = new URLSearchParams(search)
  const key = decodeURIComponent(rest.join('/'))
  const method = incoming.method ?? ''
  return {
    operation: operationOf(method, decodeURIComponent(bucket), key, query),
    method,
    bucket: decodeURIComponent(bucket),
    key,
    query,
    headers: incoming.headers,
  }
}

/** What a GET of a bucket asks, by the name in its query. */
const BUCKET_QUESTIONS: Readonly<Record<string, string>> = {
  uploads: 'ListMultipartUploads',
  versioning: 'GetBucketVersioning',
  'object-lock': 'GetObjectLockConfiguration',
  encryption: 'GetBucketEncryption',
  lifecycle: 'GetBucketLifecycleConfiguration',
}

function operationOf(method: string, bucket: string, key: string, query: URLSearchParams): string {
  if (bucket === '') return 'ListBuckets'
  if (key === '') {
    if (method === 'GET')
      return Object.entries(BUCKET_QUESTIONS).find(([name]) => query.has(name))?.[1] ?? 'ListObjectsV2'
    if (method === 'POST' && query.has('delete')) return 'DeleteObjects'
    return { PUT: 'CreateBucket', HEAD: 'HeadBucket', DELETE: 'DeleteBucket' }[method] ?? 'Unknown'
  }
  if (method === 'POST') return query.has('uploads') ? 'CreateMultipartUpload' : 'CompleteMultipartUpload'
  if (query.has('uploadId')) {
    return { PUT: 'UploadPart', DELETE: 'AbortMultipartUpload', GET: 'ListParts' }[method] ?? 'Unknown'
  }
  return { PUT: 'PutObject', GET: 'GetObject', HEAD: 'HeadObject', DELETE: 'DeleteObject' }[method] ?? 'Unknown'
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Buffer> {
  await Promise.resolve()
  yield Buffer.from(bytes)
}
