/**
 * Deletes many objects: a thousand a request where the store knows that request, one by one where it does not.
 *
 * A 200 answer to DeleteObjects can still say of single keys that they could not be deleted.
 */
import { DeleteObjectCommand, DeleteObjectsCommand } from './s3-sdk.js'
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { DeleteError } from '../errors.js'
import { objectOf, sendOptions } from './s3-access.js'
import type { S3Access } from './s3-access.js'
import { isNotImplemented, s3Failure } from './s3-errors.js'

/** The most that S3 takes. */
const KEYS_PER_REQUEST = 1000
const SINGLE_DELETES_IN_FLIGHT = 16
/** Errors of single keys that another attempt can cure. */
const PASSING_ERRORS = new Set(['InternalError', 'SlowDown', 'ServiceUnavailable', 'OperationAborted'])
const ATTEMPTS = 4
const BACKOFF_MS = 100
/** A message that names thousands of keys helps nobody. */
const NAMED_KEYS = 20

interface FailedKey {
  key: string
  code: string
  message: string
}

/** Deletes all keys; a missing one is no error. Rejects after all were tried, naming those that are still there. */
export async function deleteObjects(
  access: S3Access,
  keys: readonly string[],
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const failed: FailedKey[] = []
  for (let start = 0; start < keys.length; start += KEYS_PER_REQUEST) {
    signal?.throwIfAborted()
    failed.push(...(await deleteBatch(access, keys.slice(start, start + KEYS_PER_REQUEST), signal)))
  }
  const [first] = failed
  if (first === undefined) return
  const named = failed.slice(0, NAMED_KEYS).map(({ key }) => `"${key}"`)
  const rest = failed.length > named.length ? ` and ${failed.length - named.length} more` : ''
  throw new DeleteError(
    failed.map(({ key, message, code }) => ({ key, reason: `${message} (${code})` })),
    `could not delete ${named.join(', ')}${rest} from bucket "${access.bucket}": ${first.message} (${first.code})`,
    { hint: first.code === 'AccessDenied' ? 'Deleting needs s3:DeleteObject, and no object lock.' : undefined },
  )
}

async function deleteBatch(
  access: S3Access,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<FailedKey[]> {
  let left = keys
  try {
    for (let attempt = 1; ; attempt += 1) {
      const failed = await sendBatch(access, left, signal)
      const passing = failed.filter(({ code }) => PASSING_ERRORS.has(code))
      if (failed.length === 0 || passing.length < failed.length || attempt === ATTEMPTS) return failed
      await delay(BACKOFF_MS * 2 ** attempt, undefined, { signal })
      left = passing.map(({ key }) => key)
    }
  } catch (error) {
    if (signal?.aborted !== true && isNotImplemented(error)) return deleteSingly(access, left, signal)
    throw s3Failure(error, { verb: 'delete objects in', bucket: access.bucket, signal })
  }
}

async function sendBatch(
  access: S3Access,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<FailedKey[]> {
  const command = new DeleteObjectsCommand({
    Bucket: access.bucket,
    Delete: { Objects: keys.map((key) => ({ Key: access.prefix + key })), Quiet: true },
  })
  // S3 demands a digest of this body; the SDK sends a CRC32, older stores know only MD5
  if (!access.abilities.checksumHeaders) sendMd5(command)
  const { Errors: errors = [] } = await access.client.send(command, sendOptions(access, { signal }))
  return errors
    .filter(({ Code: code }) => code !== 'NoSuchKey')
    .map(({ Key: key = '', Code: code = 'unknown', Message: message = 'no reason given' }) => ({
      key: key.slice(access.prefix.length),
      code,
      message,
    }))
}

function sendMd5(command: DeleteObjectsCommand): void {
  command.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { headers: Record<string, string>; body: string | Uint8Array }
      for (const name of Object.keys(request.headers)) {
        if (/^x-amz-(checksum-|sdk-checksum-)/i.test(name)) Reflect.deleteProperty(request.headers, name)
      }
      request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64')
      return next(args)
    },
    { step: 'build', priority: 'low', name: 'pgsluiceContentMd5' },
  )
}

async function deleteSingly(
  access: S3Access,
  keys: readonly string[],
  signal: AbortSignal | undefined,
): Promise<FailedKey[]> {
  const failed: FailedKey[] = []
  const queue = keys.values()
  const worker = async (): Promise<void> => {
    for (const key of queue) {
      try {
        await access.client.send(new DeleteObjectCommand(objectOf(access, key)), sendOptions(access, { signal }))
      } catch (error) {
        if (signal?.aborted === true) return
        const reason = error instanceof Error ? error : new Error(String(error))
        if (reason.name !== 'NoSuchKey') failed.push({ key, code: reason.name, message: reason.message })
      }
    }
  }
  await Promise.all(Array.from({ length: SINGLE_DELETES_IN_FLIGHT }, worker))
  signal?.throwIfAborted()
  return failed
}
