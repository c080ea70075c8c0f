/**
 * Uploads a stream of unknown length: lib-storage's Upload cuts it into parts, our requests send them.
 *
 * Upload's own abort is not used: it rejects while parts are still on their way and forgets the cause. Failing the body
 * instead makes it wait for them, abort, and only then reject. It passes no signal to its requests and lets a failing
 * abort hide the first error, so it gets a client whose `send` does those requests our way.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
} from './s3-sdk.js'
import type { S3Client } from '@aws-sdk/client-s3'
import { Upload } from './s3-sdk-upload.js'
import { Readable } from 'node:stream'
import { ToolError } from '../errors.js'
import { tooLong } from './bounded-body.js'
import { SINGLE_PUT_BYTES, objectOf, partSizeFor } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { abortMultipart, completeUpload, createUpload, sendPart, withAbortFailure } from './s3-multipart.js'
import type { BegunUpload } from './s3-multipart.js'
import { putObject } from './s3-objects.js'
import type { PutOptions, StoredObject } from './storage.js'

/** Upload's chunker copies what does not end a part exactly: 1.94 bytes a byte for pieces of 8 MiB, 1.02 for these. */
const PIECE_BYTES = 128 * 1024

/** Stores a stream. Rejects with the first cause, after everything has ended; the stream is destroyed then. */
export async function uploadStream(
  access: S3Access,
  key: string,
  body: Readable,
  options: PutOptions = {},
): Promise<StoredObject> {
  const upload = new StreamUpload(access, key, body, options)
  return upload.run()
}

class StreamUpload {
  readonly #access: S3Access
  readonly #key: string
  readonly #body: Readable
  readonly #options: PutOptions
  /** Ends parts that are on their way once something failed. */
  readonly #cancel = new AbortController()
  #failure: { cause: unknown } | undefined
  #abortFailure: { cause: unknown } | undefined
  #begun: BegunUpload | undefined
  #stored: StoredObject | undefined
  #size = 0

  constructor(access: S3Access, key: string, body: Readable, options: PutOptions) {
    this.#access = access
    this.#key = key
    this.#body = body
    this.#options = options
  }

  async run(): Promise<StoredObject> {
    const { signal, maxSize } = this.#options
    const abort = (): void => {
      this.#fail(signal?.reason)
    }
    // whatever ends the body reaches us through its iterator; without a listener it would be an uncaught exception
    this.#body.on('error', () => undefined)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      if (signal?.aborted === true) abort()
      const isSmall = maxSize !== undefined && maxSize <= SINGLE_PUT_BYTES && !this.#access.alwaysMultipart
      const partSize = partSizeFor(this.#access, maxSize)
      await new Upload({
        client: this.#client(),
        params: { ...objectOf(this.#access, this.#key), Body: Readable.from(this.#pieces()) },
        partSize: isSmall ? Math.max(partSize, maxSize) : partSize,
        queueSize: this.#access.partsInFlight,
      }).done()
      if (this.#stored === undefined) throw new ToolError('storage', `could not write "${this.#key}": nothing was sent`)
      return this.#stored
    } catch (error) {
      this.#fail(error)
      const cause = this.#failure?.cause
      if (this.#begun === undefined || this.#abortFailure === undefined) throw cause
      throw withAbortFailure(cause, this.#begun, this.#abortFailure.cause)
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  /** Keeps the first cause, and ends both sides with it: the source and the parts on their way. */
  #fail(cause: unknown): void {
    if (this.#failure !== undefined) return
    this.#failure = { cause }
    this.#cancel.abort(cause)
    this.#body.destroy(cause instanceof Error ? cause : new Error(String(cause)))
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    const { maxSize } = this.#options
    try {
      for await (const chunk of this.#body as AsyncIterable<Uint8Array | string>) {
        const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
        this.#size += bytes.byteLength
        if (maxSize !== undefined && this.#size > maxSize) throw tooLong(this.#key, maxSize)
        for (let start = 0; start < bytes.byteLength; start += PIECE_BYTES) {
          yield bytes.subarray(start, start + PIECE_BYTES)
        }
      }
    } catch (error) {
      this.#fail(error)
      throw error
    }
  }

  #client(): S3Client {
    const client = Object.create(this.#access.client) as S3Client
    const send = async (command: unknown): Promise<unknown> => {
      try {
        return await this.#send(command)
      } catch (error) {
        this.#fail(error)
        throw error
      }
    }
    return Object.defineProperty(client, 'send', { value: send })
  }

  async #send(command: unknown): Promise<unknown> {
    const { ifAbsent = false, onUploadStarted, signal } = this.#options
    const access = this.#access
    if (command instanceof PutObjectCommand) {
      const bytes = command.input.Body as Uint8Array
      if (!access.alwaysMultipart) {
        this.#stored = await putObject(access, this.#key, bytes, { ifAbsent, signal })
        return {}
      }
      throw new ToolError('storage', `"${this.#key}" is too short for a multipart upload of a stream`)
    }
    if (command instanceof CreateMultipartUploadCommand) {
      this.#begun = await createUpload(access, this.#key)
      onUploadStarted?.(this.#begun)
      return { UploadId: this.#begun.uploadId }
    }
    const begun = this.#begun
    if (begun === undefined) throw new Error('lib-storage sent a request that was not expected')
    if (command instanceof UploadPartCommand) {
      const { PartNumber: partNumber = 0, Body: bytes } = command.input
      return sendPart(access, begun, partNumber, bytes as Uint8Array, this.#cancel.signal)
    }
    if (command instanceof CompleteMultipartUploadCommand) {
      const parts = command.input.MultipartUpload?.Parts ?? []
      this.#stored = await completeUpload(access, begun, { parts, size: this.#size, ifAbsent, signal })
      return { ETag: 'checked' }
    }
    if (command instanceof AbortMultipartUploadCommand) {
      await abortMultipart(access, begun).catch((error: unknown) => {
        this.#abortFailure = { cause: error }
      })
      return {}
    }
    throw new Error('lib-storage sent a request that was not expected')
  }
}
