/** The two requests about a single whole object that puts are made of: PutObject, create-only where asked, and HEAD. */
import { HeadObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'
import { setTimeout as delay } from 'node:timers/promises'
import { ExistsError, ToolError } from '../errors.js'
import { checksumOf, objectOf, sendOptions } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { isConditionalConflict, isHeadAbsence, isPreconditionFailed, s3Failure } from './s3-errors.js'
import type { StoredObject } from './storage.js'

/** 409 means that two writers met; the other one is done within moments, and the next answer is 200 or 412. */
const CONFLICT_ATTEMPTS = 5
const CONFLICT_DELAY_MS = 100

/** How an object is written. */
export interface WriteOptions {
  ifAbsent: boolean
  signal?: AbortSignal | undefined
}

/** Stores `bytes` with one request. The SDK's retries send the same memory again (O4). */
export async function putObject(
  access: S3Access,
  key: string,
  bytes: Uint8Array,
  { ifAbsent, signal }: WriteOptions,
): Promise<StoredObject> {
  const isGuarded = ifAbsent && access.abilities.createOnlyPut
  if (ifAbsent && !isGuarded) await requireAbsent(access, key, signal)
  const command = new PutObjectCommand({
    ...objectOf(access, key),
    Body: bytes,
    ContentLength: bytes.byteLength,
    ...checksumOf(access, bytes),
    ...(isGuarded ? { IfNoneMatch: '*' } : {}),
  })
  const answer: { date: Date | undefined } = { date: undefined }
  command.middlewareStack.add(dateNoter(answer), DATE_STEP)
  await retryConflicts(key, isGuarded, signal, async () => {
    try {
      await access.client.send(command, sendOptions(access, { bytes: bytes.byteLength, signal }))
    } catch (error) {
      if (signal?.aborted !== true && isGuarded && isPreconditionFailed(error))
        throw new ExistsError(key, { cause: error })
      throw error
    }
  }).catch((error: unknown) => {
    throw s3Failure(error, { verb: 'write', bucket: access.bucket, key, signal })
  })
  // the store stamps the object with the time of its answer, so the extra HEAD is for answers without a date
  const lastModified = answer.date ?? (await headObject(access, key, signal))?.lastModified ?? new Date()
  return { key, size: bytes.byteLength, lastModified }
}

/** Runs a create-only request again where the store answers 409, a few times (format rule 1). */
export async function retryConflicts<T>(
  key: string,
  isGuarded: boolean,
  signal: AbortSignal | undefined,
  request: () => Promise<T>,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await request()
    } catch (error) {
      if (!isGuarded || attempt === CONFLICT_ATTEMPTS || !isConditionalConflict(error)) throw error
      await delay(CONFLICT_DELAY_MS * attempt, undefined, { signal })
    }
  }
}

/** What is stored under `key`, or undefined. */
export async function headObject(
  access: S3Access,
  key: string,
  signal: AbortSignal | undefined,
): Promise<StoredObject | undefined> {
  try {
    const found = await access.client.send(
      new HeadObjectCommand(objectOf(access, key)),
      sendOptions(access, { signal }),
    )
    return { key, size: found.ContentLength ?? 0, lastModified: found.LastModified ?? new Date(0) }
  } catch (error) {
    if (signal?.aborted !== true && isHeadAbsence(error)) return undefined
    throw s3Failure(error, { verb: 'look at', bucket: access.bucket, key, signal })
  }
}

/**
 * The substitute for `If-None-Match: *` on a store that ignores it. Two writers can both look before either has
 * written; then the later one replaces the earlier, and both believe they were first. Nothing on this side can close
 * that gap, which is why the probe reports such a store (O6).
 */
export async function requireAbsent(access: S3Access, key: string, signal: AbortSignal | undefined): Promise<void> {
  if ((await headObject(access, key, signal)) !== undefined) throw new ExistsError(key)
}

/** The time by the store's clock, from the head of an answer to a listing of one key at most. */
export async function storeDate(access: S3Access, signal: AbortSignal | undefined): Promise<Date> {
  const command = new ListObjectsV2Command({ Bucket: access.bucket, Prefix: access.prefix, MaxKeys: 1 })
  const answer: { date: Date | undefined } = { date: undefined }
  command.middlewareStack.add(dateNoter(answer), DATE_STEP)
  await access.client.send(command, sendOptions(access, { signal })).catch((error: unknown) => {
    throw s3Failure(error, { verb: 'list', bucket: access.bucket, signal })
  })
  if (answer.date) return answer.date
  throw new ToolError('storage', `bucket "${access.bucket}" does not say what time it is: its answers have no Date`)
}

/** A middleware that notes the Date of the answer. */
function dateNoter(answer: { date: Date | undefined }) {
  return <Args, Result extends { response: unknown }>(next: (args: Args) => Promise<Result>) =>
    async (args: Args): Promise<Result> => {
      const result = await next(args)
      answer.date = dateOf(result.response)
      return result
    }
}

const DATE_STEP = { step: 'deserialize', priority: 'high', name: 'pgsluiceDate' } as const

function dateOf(response: unknown): Date | undefined {
  if (typeof response !== 'object' || response === null || !('headers' in response)) return undefined
  const date = new Date((response.headers as Record<string, string | undefined>)['date'] ?? '')
  return Number.isNaN(date.getTime()) ? undefined : date
}
