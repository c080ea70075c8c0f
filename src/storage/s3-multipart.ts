/**
 * The four requests of a multipart upload, as both ways of driving one use them (s3-upload.ts, s3-part-upload.ts).
 *
 * Keeps two promises: an upload that fails is aborted, with a deadline of its own, and the object that a completed one
 * left is looked at before anybody is told that it is there (O1, O5).
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from './s3-sdk.js'
import type { CompletedPart } from '@aws-sdk/client-s3'
import { ExistsError, ToolError, reasonOf } from '../errors.js'
import { checksumOf, objectOf, sendOptions, timed } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { attemptsOf, isNoSuchUpload, isPreconditionFailed, s3Failure } from './s3-errors.js'
import { headObject, requireAbsent, retryConflicts } from './s3-objects.js'
import type { WriteOptions } from './s3-objects.js'
import type { StoredObject } from './storage.js'

/** A multipart upload that was begun. */
export interface BegunUpload {
  key: string
  uploadId: string
}

/**
 * Begins an upload. Takes no signal: a request cut off here could leave an upload whose id nobody ever learns.
 * The algorithm is named although each part says it again: some stores refuse the parts' checksums at the end otherwise.
 */
export async function createUpload(access: S3Access, key: string): Promise<BegunUpload> {
  try {
    const { UploadId: uploadId } = await timed(
      access,
      access.client.send(
        new CreateMultipartUploadCommand({
          ...objectOf(access, key),
          ...(access.abilities.checksumHeaders ? { ChecksumAlgorithm: 'CRC32' as const } : {}),
        }),
        sendOptions(access),
      ),
    )
    if (uploadId === undefined)
      throw new ToolError('storage', `could not begin the upload of "${key}": no id came back`)
    return { key, uploadId }
  } catch (error) {
    throw s3Failure(error, { verb: 'begin the upload of', bucket: access.bucket, key })
  }
}

/** Sends one part, whose bytes must not change until this settles: retries send them again (O4). */
export async function sendPart(
  access: S3Access,
  { key, uploadId }: BegunUpload,
  partNumber: number,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<CompletedPart & { ETag: string }> {
  const checksum = checksumOf(access, bytes)
  try {
    const { ETag } = await access.client.send(
      new UploadPartCommand({
        ...objectOf(access, key),
        UploadId: uploadId,
        PartNumber: partNumber,
        Body: bytes,
        ContentLength: bytes.byteLength,
        ...checksum,
      }),
      sendOptions(access, { bytes: bytes.byteLength, signal }),
    )
    if (ETag === undefined) {
      throw new ToolError('storage', `could not write part ${partNumber} of "${key}": the answer has no ETag`)
    }
    return { PartNumber: partNumber, ETag, ...checksum }
  } catch (error) {
    throw s3Failure(error, { verb: `write part ${partNumber} of`, bucket: access.bucket, key, signal })
  }
}

/**
 * Joins the parts into the object, and checks that it is there with the size that was sent (O1). Rejects with
 * ExistsError where the key is taken, also by an earlier attempt of this very request whose answer was lost.
 * The upload still has to be aborted when this rejects.
 */
export async function completeUpload(
  access: S3Access,
  upload: BegunUpload,
  { parts, size, ifAbsent, signal }: WriteOptions & { parts: CompletedPart[]; size: number },
): Promise<StoredObject> {
  const { key, uploadId } = upload
  const isGuarded = ifAbsent && access.abilities.createOnlyMultipart
  if (ifAbsent && !isGuarded) await requireAbsent(access, key, signal)
  const complete = async (): Promise<string | undefined> => {
    const { ETag } = await access.client.send(
      new CompleteMultipartUploadCommand({
        ...objectOf(access, key),
        UploadId: uploadId,
        MultipartUpload: { Parts: parts },
        ...(isGuarded ? { IfNoneMatch: '*' } : {}),
      }),
      sendOptions(access, { signal }),
    )
    return ETag
  }
  try {
    const etag = await retryConflicts(key, isGuarded, signal, complete)
    if (etag === undefined) throw new ToolError('storage', `could not complete "${key}": the answer has no ETag`)
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason
    if (isGuarded && isPreconditionFailed(error)) throw new ExistsError(key, { cause: error })
    const echo = isNoSuchUpload(error) ? await headObject(access, key, signal) : undefined
    if (echo !== undefined && ifAbsent) throw new ExistsError(key, { cause: error })
    // a retry found the upload gone and the object there: the first attempt had worked
    if (echo !== undefined && attemptsOf(error) > 1 && echo.size === size) return echo
    throw s3Failure(error, { verb: 'complete', bucket: access.bucket, key, signal })
  }
  const stored = await headObject(access, key, signal)
  if (stored?.size === size) return stored
  const found = stored === undefined ? 'it is not there' : `it has ${stored.size} bytes`
  throw new ToolError('storage', `could not complete "${key}": ${size} bytes were stored, but ${found}`)
}

/** Removes an upload and its parts. Never with a signal of the work it cleans up after (section 10 of the design). */
export async function abortMultipart(
  access: S3Access,
  { key, uploadId }: BegunUpload,
  signal = AbortSignal.timeout(access.requestTimeoutMs * 2),
): Promise<void> {
  try {
    await access.client.send(
      new AbortMultipartUploadCommand({ ...objectOf(access, key), UploadId: uploadId }),
      sendOptions(access, { signal }),
    )
  } catch (error) {
    if (isNoSuchUpload(error)) return
    throw s3Failure(error, { verb: 'abort the upload of', bucket: access.bucket, key, signal })
  }
}

/** The error to report when a put failed and its upload could not be removed either: the first cause leads. */
export function withAbortFailure(cause: unknown, { key, uploadId }: BegunUpload, failure: unknown): ToolError {
  return new ToolError(
    cause instanceof ToolError ? cause.code : 'storage',
    `${reasonOf(cause)}; its parts stay in the bucket, since upload ${uploadId} of "${key}" could not be aborted`,
    {
      hint: cause instanceof ToolError ? cause.hint : undefined,
      cause: new AggregateError([cause, failure], 'the put and its clean-up failed'),
    },
  )
}
