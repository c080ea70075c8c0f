/**
 * Keeps objects in an S3 bucket under a prefix.
 *
 * Each method is one kind of request; what makes them hard lives beside: uploads in s3-upload.ts and s3-part-upload.ts,
 * broken downloads in resuming-read.ts, errors in s3-errors.ts.
 */
import { GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command } from './s3-sdk.js'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { Readable } from 'node:stream'
import { ToolError } from '../errors.js'
import { RateLimit } from '../streams/rate-limit.js'
import { compareKeys } from './directory-storage.js'
import type { ProbedStorage, ProbedVariant } from './inspect.js'
import { limitUploads } from './s3-limited-upload.js'
import { resumingRead } from './resuming-read.js'
import type { OpenedRange, RangeWanted } from './resuming-read.js'
import { SINGLE_PUT_BYTES, objectOf, sendOptions, timed } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { DEFAULT_REQUEST_TIMEOUT_MS, connectS3 } from './s3-client.js'
import { readBucketFacts } from './s3-bucket.js'
import { deleteObjects } from './s3-delete.js'
import { getFailure, isPreconditionFailed, isTransient, responseHeader, s3Failure, statusOf } from './s3-errors.js'
import { abortMultipart } from './s3-multipart.js'
import { headObject, putObject, storeDate } from './s3-objects.js'
import { PartBuffers, uploadParts } from './s3-part-upload.js'
import type { UnfinishedUpload, UploadHolder } from './stale-uploads.js'
import type { ClockHolder } from './store-clock.js'
import type { FactsHolder, StoreFacts } from './store-facts.js'
import type { StorageOptions } from './storage-options.js'
import type { GetOptions, PartSource, PutOptions, Storage, StoredObject } from './storage.js'

const DEFAULT_PART_SIZE_BYTES = 8 * 1024 * 1024
const DEFAULT_PARTS_IN_FLIGHT = 2
const ALL_ABILITIES = { createOnlyPut: true, createOnlyMultipart: true, checksumHeaders: true }

/** Opens a bucket without speaking to it. */
export async function openS3Storage(options: StorageOptions & { bucket: string; prefix: string }): Promise<S3Storage> {
  const client = await connectS3(options)
  const limit = options.rate && new RateLimit(options.rate, 'transfers')
  if (limit) limitUploads(client, limit)
  return new S3Storage(options.url, {
    client,
    limit,
    bucket: options.bucket,
    prefix: options.prefix === '' ? '' : `${options.prefix}/`,
    abilities: options.abilities ?? ALL_ABILITIES,
    requestTimeoutMs: options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS,
    partSizeBytes: options.partSizeBytes ?? DEFAULT_PART_SIZE_BYTES,
    partsInFlight: Math.max(1, options.partsInFlight ?? DEFAULT_PARTS_IN_FLIGHT),
    distance: { ms: options.distanceMs ?? Infinity },
    alwaysMultipart: false,
  })
}

export class S3Storage implements Storage, UploadHolder, ClockHolder, FactsHolder, ProbedStorage {
  readonly url: string
  readonly #access: S3Access
  readonly #buffers: PartBuffers

  constructor(url: string, access: S3Access) {
    this.url = url
    this.#access = access
    this.#buffers = new PartBuffers(access.partSizeBytes * access.partsInFlight)
  }

  get distanceMs(): number | undefined {
    const { ms } = this.#access.distance
    return ms === Infinity ? undefined : ms
  }

  async put(key: string, body: Uint8Array | Readable | PartSource, options: PutOptions = {}): Promise<StoredObject> {
    const access = this.#access
    if (body instanceof Readable) {
      // a WAL command stores no stream, and saves 50 ms of loading; a body that fails meanwhile says so when it is read
      body.on('error', () => undefined)
      const { uploadStream } = await import('./s3-upload.js')
      return uploadStream(access, key, body, options)
    }
    const { ifAbsent = false, signal } = options
    if (!(body instanceof Uint8Array)) {
      const { maxSize } = options
      if (maxSize === undefined) throw new TypeError('a PartSource needs maxSize')
      return uploadParts(access, key, body, { ...options, maxSize, buffers: this.#buffers })
    }
    signal?.throwIfAborted()
    if (body.byteLength <= SINGLE_PUT_BYTES && !access.alwaysMultipart) {
      return putObject(access, key, body, { ifAbsent, signal })
    }
    const maxSize = body.byteLength
    return uploadParts(access, key, partsOf(body), { ...options, maxSize, buffers: this.#buffers })
  }

  async get(key: string, { offset = 0, length, signal }: GetOptions = {}): Promise<Readable> {
    const open = (range: RangeWanted): Promise<OpenedRange> => this.#openRange(key, range)
    return resumingRead(open, { key, offset, length, signal, isTransient, limit: this.#access.limit })
  }

  async head(key: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<StoredObject | undefined> {
    signal?.throwIfAborted()
    return headObject(this.#access, key, signal)
  }

  async *list(
    prefix: string,
    { startAfter, signal }: { startAfter?: string; signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<StoredObject> {
    const access = this.#access
    let token: string | undefined
    let last: string | undefined
    do {
      signal?.throwIfAborted()
      const command = new ListObjectsV2Command({
        Bucket: access.bucket,
        Prefix: access.prefix + prefix,
        ...(startAfter === undefined || startAfter === '' ? {} : { StartAfter: access.prefix + startAfter }),
        ...(token === undefined ? {} : { ContinuationToken: token }),
      })
      const page = await timed(access, access.client.send(command, sendOptions(access, { signal }))).catch(
        (error: unknown) => {
          throw s3Failure(error, { verb: `list "${prefix}" in`, bucket: access.bucket, signal })
        },
      )
      for (const { Key: fullKey = '', Size: size = 0, LastModified: lastModified = new Date(0) } of page.Contents ??
        []) {
        const key = fullKey.slice(access.prefix.length)
        // callers rely on the order, and a token that repeats a page would list for ever
        if (last !== undefined && compareKeys(last, key) >= 0) {
          throw new ToolError('storage', `could not list "${prefix}": "${key}" came after "${last}", out of order`)
        }
        last = key
        yield { key, size, lastModified }
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
      if (page.IsTruncated === true && token === undefined) {
        throw new ToolError('storage', `could not list "${prefix}": the store says that more follows, but not where`)
      }
    } while (token !== undefined)
  }

  async delete(keys: readonly string[], options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    await deleteObjects(this.#access, keys, options)
  }

  close(): void {
    this.#access.client.destroy()
  }

  async *listUploads(
    prefix: string,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<UnfinishedUpload> {
    const access = this.#access
    let markers: { KeyMarker?: string; UploadIdMarker?: string } = {}
    for (;;) {
      signal?.throwIfAborted()
      const command = new ListMultipartUploadsCommand({
        Bucket: access.bucket,
        Prefix: access.prefix + prefix,
        ...markers,
      })
      const page = await access.client.send(command, sendOptions(access, { signal })).catch((error: unknown) => {
        throw s3Failure(error, { verb: 'list the uploads in', bucket: access.bucket, signal })
      })
      for (const { Key: fullKey, UploadId: uploadId, Initiated: initiated } of page.Uploads ?? []) {
        // an upload without a date is never taken as old; one beside the prefix is none of ours
        if (fullKey?.startsWith(access.prefix + prefix) !== true || uploadId === undefined || initiated === undefined)
          continue
        yield { key: fullKey.slice(access.prefix.length), uploadId, initiated }
      }
      const { NextKeyMarker: key, NextUploadIdMarker: id } = page
      if (
        page.IsTruncated !== true ||
        key === undefined ||
        (key === markers.KeyMarker && id === markers.UploadIdMarker)
      )
        return
      markers = { KeyMarker: key, ...(id === undefined ? {} : { UploadIdMarker: id }) }
    }
  }

  async now({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<Date> {
    return storeDate(this.#access, signal)
  }

  async facts({ signal }: { signal?: AbortSignal | undefined } = {}): Promise<StoreFacts> {
    return readBucketFacts(this.#access, signal)
  }

  async abortUpload(
    upload: { key: string; uploadId: string },
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<void> {
    await abortMultipart(this.#access, upload, signal)
  }

  /** The same bucket through the same connections, with other abilities. */
  variant({ abilities, alwaysMultipart }: ProbedVariant): Storage {
    return new S3Storage(this.url, { ...this.#access, abilities, alwaysMultipart: alwaysMultipart ?? false })
  }

  async #openRange(key: string, { offset, length, ifMatch, signal }: RangeWanted): Promise<OpenedRange> {
    const access = this.#access
    const isRange = offset > 0 || length !== undefined
    // an empty range cannot be said; its first byte proves that the key exists
    const lastByte = length === undefined ? '' : String(offset + Math.max(length, 1) - 1)
    try {
      const answer = await access.client.send(
        new GetObjectCommand({
          ...objectOf(access, key),
          ...(isRange ? { Range: `bytes=${offset}-${lastByte}` } : {}),
          ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
        }),
        sendOptions(access, { signal }),
      )
      const opened = openedRange(answer, key, { offset, length })
      // some stores ignore If-Match without a word
      if (ifMatch === undefined || answer.ETag === ifMatch) return opened
      opened.body.destroy()
      throw replaced(key)
    } catch (error) {
      if (ifMatch !== undefined && isPreconditionFailed(error)) throw replaced(key)
      if (statusOf(error) === 416 && !signal.aborted && beginsPastEnd(error, offset)) {
        return { body: Readable.from([], { objectMode: false }), length: 0, etag: undefined }
      }
      throw getFailure(error, { verb: 'read', bucket: access.bucket, key, signal })
    }
  }
}

function openedRange(
  { Body: body, ContentLength: size, ContentRange: range, ETag: etag }: GetObjectCommandOutput,
  key: string,
  { offset, length }: { offset: number; length: number | undefined },
): OpenedRange {
  if (!(body instanceof Readable) || size === undefined) {
    throw new ToolError('storage', `could not read "${key}": the answer does not say how long it is`)
  }
  const isHonoured = range === undefined ? offset === 0 : range.startsWith(`bytes ${offset}-`)
  if (!isHonoured || (length !== undefined && size > Math.max(length, 1))) {
    body.destroy()
    throw new ToolError('storage', `could not read "${key}": the store ignored the range that was asked for`)
  }
  if (length !== 0) return { body, length: size, etag }
  body.destroy()
  return { body: Readable.from([], { objectMode: false }), length: 0, etag }
}

function replaced(key: string): ToolError {
  return new ToolError('storage', `could not read "${key}": it was replaced while it was read`)
}

/** 416 where the range begins at or after the end: nothing is there, and that is what was asked. */
function beginsPastEnd(error: unknown, offset: number): boolean {
  const size = /\*\/(\d+)$/.exec(responseHeader(error, 'content-range') ?? '')?.[1]
  return size === undefined || Number(size) <= offset
}

/** Bytes that are in memory already, for bodies too large for one request. */
function partsOf(bytes: Uint8Array): PartSource {
  let position = 0
  return {
    fill(buffer) {
      const piece = bytes.subarray(position, position + buffer.length)
      buffer.set(piece)
      position += piece.byteLength
      return Promise.resolve(piece.byteLength)
    },
  }
}
