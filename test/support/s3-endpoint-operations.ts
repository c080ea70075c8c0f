/** The S3 operations of the in-process endpoint, one function each. */
import { createHash, randomUUID } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { encodedCrc, joined } from './s3-endpoint-store.js'
import type { Body, EndpointStore, KeptObject, KeptUpload } from './s3-endpoint-store.js'
import { S3Refusal } from './s3-endpoint-types.js'
import type { EndpointRequest, Exchange, Weaknesses } from './s3-endpoint-types.js'
import { contentsOf, element, errorDocument, unescapeXml, xmlDocument } from './s3-endpoint-xml.js'

/** What the operations share. */
export interface Shop {
  store: EndpointStore
  weaknesses: Weaknesses
  pageSize: number
  /** What buckets are set up to do, as XML by the name of the operation that asks for it; without an entry: nothing. */
  bucketSetup: Map<string, string>
  /** Takes the body of a request in, acting out a fault in the middle of it. */
  receive: (exchange: Exchange) => Promise<Body>
}

type Operation = (shop: Shop, exchange: Exchange) => Promise<void> | void

export const OPERATIONS: Record<string, Operation> = {
  ListBuckets: ({ store }, exchange) => {
    const names = [...store.buckets.keys()].map((name) => element('Bucket', [element('Name', name)]))
    sendXml(exchange, xmlDocument('ListAllMyBucketsResult', [element('Buckets', names)]))
  },
  CreateBucket: ({ store }, exchange) => {
    const { bucket } = exchange.request
    if (store.buckets.has(bucket)) throw new S3Refusal(409, 'BucketAlreadyOwnedByYou')
    store.buckets.set(bucket, new Map())
    send(exchange, 200, {})
  },
  HeadBucket: (shop, exchange) => {
    bucketOf(shop, exchange)
    send(exchange, 200, { 'x-amz-bucket-region': 'us-east-1' })
  },
  GetBucketVersioning: (shop, exchange) => {
    bucketOf(shop, exchange)
    sendXml(exchange, shop.bucketSetup.get('GetBucketVersioning') ?? xmlDocument('VersioningConfiguration', []))
  },
  GetObjectLockConfiguration: (shop, exchange) => setup(shop, exchange, 'ObjectLockConfigurationNotFoundError'),
  GetBucketEncryption: (shop, exchange) => setup(shop, exchange, 'ServerSideEncryptionConfigurationNotFoundError'),
  GetBucketLifecycleConfiguration: (shop, exchange) => setup(shop, exchange, 'NoSuchLifecycleConfiguration'),
  DeleteBucket: (shop, exchange) => {
    if (bucketOf(shop, exchange).size > 0) throw new S3Refusal(409, 'BucketNotEmpty')
    shop.store.buckets.delete(exchange.request.bucket)
    send(exchange, 204, {})
  },
  PutObject: async (shop, exchange) => {
    const objects = bucketOf(shop, exchange)
    const body = await shop.receive(exchange)
    const checksum = checkedSum(exchange, body)
    const { key, headers } = exchange.request
    const isGuarded = headers['if-none-match'] === '*' && !isIgnored(exchange, shop.weaknesses.ignoreIfNoneMatch)
    if (isGuarded && objects.has(key)) throw new S3Refusal(412, 'PreconditionFailed')
    const replaced = objects.get(key)
    const etag = `"${encodedCrc(body.crc).toString('hex')}${body.size.toString(16)}"`
    objects.set(key, { body, etag, lastModified: new Date(), checksum })
    await shop.store.discard(replaced?.body)
    send(exchange, 200, { etag, ...(checksum === undefined ? {} : { 'x-amz-checksum-crc32': checksum }) })
  },
  GetObject: async (shop, exchange) => sendObject(shop, exchange, true),
  HeadObject: async (shop, exchange) => sendObject(shop, exchange, false),
  DeleteObject: async (shop, exchange) => {
    if (shop.weaknesses.noDelete === true) throw new S3Refusal(403, 'AccessDenied')
    await removeObject(shop, bucketOf(shop, exchange), exchange.request.key)
    send(exchange, 204, {})
  },
  DeleteObjects: async (shop, exchange) => {
    if (shop.weaknesses.noDeleteObjects === true) throw new S3Refusal(501, 'NotImplemented')
    const objects = bucketOf(shop, exchange)
    const bytes = await bytesOf(shop, exchange)
    const { headers } = exchange.request
    const md5 = headers['content-md5']
    if (md5 === undefined && headers['x-amz-checksum-crc32'] === undefined) throw new S3Refusal(400, 'InvalidRequest')
    if (md5 !== undefined && md5 !== createHash('md5').update(bytes).digest('base64'))
      throw new S3Refusal(400, 'BadDigest')
    const keys = contentsOf(bytes.toString(), 'Key').map(unescapeXml)
    if (keys.length > 1000) throw new S3Refusal(400, 'MalformedXML')
    const isDenied = exchange.fault === 'deny-each-key' || shop.weaknesses.noDelete === true
    const errors = isDenied
      ? keys.map((key) =>
          element('Error', [element('Key', key), element('Code', 'AccessDenied'), element('Message', 'denied')]),
        )
      : []
    if (!isDenied) for (const key of keys) await removeObject(shop, objects, key)
    sendXml(exchange, xmlDocument('DeleteResult', errors))
  },
  ListObjectsV2: (shop, exchange) => {
    sendXml(exchange, objectPage(shop, exchange))
  },
  CreateMultipartUpload: (shop, exchange) => {
    bucketOf(shop, exchange)
    const { bucket, key, headers } = exchange.request
    const algorithm = headers['x-amz-checksum-algorithm']?.toString()
    const id = randomUUID()
    shop.store.uploads.set(id, { bucket, key, id, initiated: new Date(), algorithm, parts: new Map() })
    const names = [element('Bucket', bucket), element('Key', key), element('UploadId', id)]
    sendXml(exchange, xmlDocument('InitiateMultipartUploadResult', names))
  },
  UploadPart: async (shop, exchange) => {
    uploadOf(shop, exchange)
    const body = await shop.receive(exchange)
    const checksum = checkedSum(exchange, body)
    const upload = uploadOf(shop, exchange) // may have been aborted meanwhile
    const number = Number(exchange.request.query.get('partNumber'))
    if (!(number >= 1 && number <= 10_000)) throw new S3Refusal(400, 'InvalidArgument')
    const etag = `"${encodedCrc(body.crc).toString('hex')}${body.size.toString(16)}"`
    const replaced = upload.parts.get(number)
    upload.parts.set(number, { body, etag, checksum })
    await shop.store.discard(replaced?.body)
    send(exchange, 200, { etag, ...(checksum === undefined ? {} : { 'x-amz-checksum-crc32': checksum }) })
  },
  CompleteMultipartUpload: completeUpload,
  AbortMultipartUpload: async (shop, exchange) => {
    const upload = uploadOf(shop, exchange)
    shop.store.uploads.delete(upload.id)
    for (const { body } of upload.parts.values()) await shop.store.discard(body)
    send(exchange, 204, {})
  },
  ListParts: (shop, exchange) => {
    const parts = [...uploadOf(shop, exchange).parts].sort(([a], [b]) => a - b)
    const rows = parts.map(([number, { body, etag }]) =>
      element('Part', [element('PartNumber', number), element('ETag', etag), element('Size', body.size)]),
    )
    sendXml(exchange, xmlDocument('ListPartsResult', [element('IsTruncated', false), ...rows]))
  },
  ListMultipartUploads: (shop, exchange) => {
    bucketOf(shop, exchange)
    const { bucket, query } = exchange.request
    const found = [...shop.store.uploads.values()]
      .filter((upload) => upload.bucket === bucket && upload.key.startsWith(query.get('prefix') ?? ''))
      .sort((a, b) => byteOrder(a.key, b.key) || byteOrder(a.id, b.id))
      .filter(({ key, id }) => {
        const order = byteOrder(key, query.get('key-marker') ?? '')
        return order > 0 || (order === 0 && byteOrder(id, query.get('upload-id-marker') ?? '') > 0)
      })
    const page = found.slice(0, shop.pageSize)
    const last = page.at(-1)
    const isTruncated = found.length > page.length
    const rows = page.map(({ key, id, initiated }) =>
      element('Upload', [element('Key', key), element('UploadId', id), element('Initiated', initiated.toISOString())]),
    )
    const next = isTruncated ? [element('NextKeyMarker', last?.key), element('NextUploadIdMarker', last?.id)] : []
    sendXml(
      exchange,
      xmlDocument('ListMultipartUploadsResult', [element('IsTruncated', isTruncated), ...next, ...rows]),
    )
  },
}

/** How a bucket is set up, or the code that says that it is not. */
function setup(shop: Shop, exchange: Exchange, none: string): void {
  bucketOf(shop, exchange)
  const text = shop.bucketSetup.get(exchange.request.operation)
  if (text === undefined) throw new S3Refusal(404, none)
  sendXml(exchange, text)
}

async function completeUpload(shop: Shop, exchange: Exchange): Promise<void> {
  const objects = bucketOf(shop, exchange)
  const bytes = await bytesOf(shop, exchange)
  const upload = uploadOf(shop, exchange)
  const named = contentsOf(bytes.toString(), 'Part').map((part) => ({
    number: Number(contentsOf(part, 'PartNumber')[0]),
    etag: unescapeXml(contentsOf(part, 'ETag')[0] ?? ''),
    checksum: contentsOf(part, 'ChecksumCRC32')[0],
  }))
  const parts = named.map(({ number, etag, checksum }, index) => {
    const part = upload.parts.get(number)
    if (part === undefined || part.etag !== etag) throw new S3Refusal(400, 'InvalidPart')
    if (number <= (named[index - 1]?.number ?? 0)) throw new S3Refusal(400, 'InvalidPartOrder')
    // as AWS: an upload with a named algorithm wants every part's checksum echoed, one without wants none
    if ((upload.algorithm === undefined) !== (checksum === undefined)) throw new S3Refusal(400, 'InvalidRequest')
    if (checksum !== undefined && checksum !== part.checksum) throw new S3Refusal(400, 'InvalidPart')
    if (index < named.length - 1 && part.body.size < 5 * 1024 * 1024) throw new S3Refusal(400, 'EntityTooSmall')
    return part.body
  })
  if (parts.length === 0) throw new S3Refusal(400, 'MalformedXML')
  if (exchange.fault === 'drop-last-part') parts.pop()
  const { key, headers } = exchange.request
  const isGuarded =
    headers['if-none-match'] === '*' && !isIgnored(exchange, shop.weaknesses.ignoreIfNoneMatchOnComplete)
  if (isGuarded && objects.has(key)) throw new S3Refusal(412, 'PreconditionFailed')
  const body = joined(parts)
  const etag = `"${encodedCrc(body.crc).toString('hex')}-${parts.length}"`
  const checksum =
    upload.algorithm === undefined ? undefined : `${encodedCrc(body.crc).toString('base64')}-${parts.length}`
  const replaced = objects.get(key)
  objects.set(key, { body, etag, lastModified: new Date(), checksum })
  shop.store.uploads.delete(upload.id)
  await shop.store.discard(replaced?.body)
  const tag = exchange.fault === 'no-etag' ? [] : [element('ETag', etag)]
  sendXml(exchange, xmlDocument('CompleteMultipartUploadResult', [element('Key', key), ...tag]))
}

async function sendObject(shop: Shop, exchange: Exchange, withBody: boolean): Promise<void> {
  const { request, response, incoming, fault } = exchange
  const object = bucketOf(shop, exchange).get(request.key)
  if (object === undefined) {
    const { status, code, headers } = shop.weaknesses.notFound ?? { status: 404, code: 'NoSuchKey' }
    throw new S3Refusal(status, code, headers)
  }
  const { size } = object.body
  const ifMatch = request.headers['if-match']
  if (ifMatch !== undefined && ifMatch !== object.etag && shop.weaknesses.ignoreIfMatch !== true) {
    throw new S3Refusal(412, 'PreconditionFailed')
  }
  const range = shop.weaknesses.ignoreRange === true ? undefined : rangeOf(request, size)
  const { start, end } = range ?? { start: 0, end: size }
  response.writeHead(range === undefined ? 200 : 206, {
    'content-length': end - start,
    etag: object.etag,
    'last-modified': object.lastModified.toUTCString(),
    'accept-ranges': 'bytes',
    ...(range === undefined ? {} : { 'content-range': `bytes ${start}-${end - 1}/${size}` }),
  })
  if (!withBody) {
    response.end()
    return
  }
  const limit = limitOf(fault)
  let sent = 0
  for await (const chunk of shop.store.read(object.body, start, Math.min(end, start + limit))) {
    sent += chunk.length
    if (response.destroyed) return
    if (!response.write(chunk)) await writable(response)
  }
  if (sent === end - start) response.end()
  else if (typeof fault === 'object' && 'cutBodyAfter' in fault) {
    // what was written must reach the reader first: a reset throws away what is on its way
    await new Promise<void>((resolve) => response.write('', () => resolve()))
    incoming.socket.destroy()
  }
}

/** Waits until more can be written, or nobody listens any more. */
function writable(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      response.off('drain', go).off('close', go)
      resolve()
    }
    response.on('drain', go).on('close', go)
  })
}

function limitOf(fault: Exchange['fault']): number {
  if (typeof fault === 'object' && 'cutBodyAfter' in fault) return fault.cutBodyAfter
  if (typeof fault === 'object' && 'stallBodyAfter' in fault) return fault.stallBodyAfter
  return Infinity
}

function rangeOf({ headers }: EndpointRequest, size: number): { start: number; end: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '') ?? []
  if (first === '') return undefined
  const start = Number(first)
  if (start >= size) throw new S3Refusal(416, 'InvalidRange', { 'content-range': `bytes */${size}` })
  return { start, end: last === '' ? size : Math.min(size, Number(last) + 1) }
}

function objectPage(shop: Shop, exchange: Exchange): string {
  const { query } = exchange.request
  const prefix = query.get('prefix') ?? ''
  const delimiter = query.get('delimiter') ?? ''
  const token = query.get('continuation-token')
  const after = token === null ? (query.get('start-after') ?? '') : Buffer.from(token, 'base64url').toString()
  const most = Math.min(shop.pageSize, Number(query.get('max-keys') ?? shop.pageSize))
  const entries = [...bucketOf(shop, exchange)].filter(([key]) => key.startsWith(prefix))
  if (shop.weaknesses.unorderedLists !== true) entries.sort(([a], [b]) => byteOrder(a, b))
  const rows: string[] = []
  const folders = new Set<string>()
  let last = ''
  let isTruncated = false
  for (const [key, object] of entries) {
    const cut = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    const name = cut < 0 ? key : key.slice(0, cut + delimiter.length)
    if (byteOrder(name, after) <= 0 || folders.has(name)) continue
    if (rows.length + folders.size === most) {
      isTruncated = true
      break
    }
    last = name
    if (cut < 0) rows.push(objectRow(key, object))
    else folders.add(name)
  }
  const next = isTruncated ? Buffer.from(last).toString('base64url') : undefined
  return xmlDocument('ListBucketResult', [
    element('Prefix', prefix),
    element('KeyCount', rows.length + folders.size),
    element('MaxKeys', most),
    element('IsTruncated', isTruncated),
    element('NextContinuationToken', next),
    ...rows,
    ...[...folders].map((name) => element('CommonPrefixes', [element('Prefix', name)])),
  ])
}

function objectRow(key: string, { body, etag, lastModified }: KeptObject): string {
  const facts = [element('LastModified', lastModified.toISOString()), element('ETag', etag), element('Size', body.size)]
  return element('Contents', [element('Key', key), ...facts, element('StorageClass', 'STANDARD')])
}

/** Compares what came with the checksum header that came with it. */
function checkedSum({ request }: Exchange, body: Body): string | undefined {
  const claimed = request.headers['x-amz-checksum-crc32']?.toString()
  if (claimed !== undefined && claimed !== encodedCrc(body.crc).toString('base64'))
    throw new S3Refusal(400, 'BadDigest')
  return claimed
}

function isIgnored({ fault }: Exchange, weakness: boolean | undefined): boolean {
  return weakness === true || fault === 'ignore-if-none-match'
}

async function removeObject(shop: Shop, objects: Map<string, KeptObject>, key: string): Promise<void> {
  const object = objects.get(key)
  objects.delete(key)
  await shop.store.discard(object?.body)
}

async function bytesOf(shop: Shop, exchange: Exchange): Promise<Buffer> {
  const body = await shop.receive(exchange)
  const chunks: Buffer[] = []
  for await (const chunk of shop.store.read(body, 0, body.size)) chunks.push(chunk)
  await shop.store.discard(body)
  return Buffer.concat(chunks)
}

function bucketOf({ store }: Shop, { request }: Exchange): Map<string, KeptObject> {
  const bucket = store.buckets.get(request.bucket)
  if (bucket === undefined) throw new S3Refusal(404, 'NoSuchBucket')
  return bucket
}

function uploadOf({ store }: Shop, { request }: Exchange): KeptUpload {
  const upload = store.uploads.get(request.query.get('uploadId') ?? '')
  if (upload === undefined || upload.key !== request.key) throw new S3Refusal(404, 'NoSuchUpload')
  return upload
}

function byteOrder(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Sends an answer, or loses it where a fault says so. */
function send({ fault, incoming, response }: Exchange, status: number, headers: object, text = ''): void {
  if (fault === 'lose-answer') {
    incoming.socket.resetAndDestroy()
    return
  }
  const isHead = incoming.method === 'HEAD'
  const length = Buffer.byteLength(text)
  response.writeHead(status, { ...headers, ...(isHead && length === 0 ? {} : { 'content-length': length }) })
  response.end(isHead ? undefined : text)
}

function sendXml(exchange: Exchange, text: string): void {
  send(exchange, 200, { 'content-type': 'application/xml' }, text)
}

export function sendError(exchange: Exchange, { status, code, headers }: S3Refusal): void {
  const requestId = randomUUID()
  const text = errorDocument(code, requestId)
  send(exchange, status, { 'content-type': 'application/xml', 'x-amz-request-id': requestId, ...headers }, text)
}
