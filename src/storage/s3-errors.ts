/**
 * Turns what the SDK throws into one line that a person can act on: verb, key, bucket, status, code, request id, hint.
 *
 * Also the only place that decides which answer means absence (G2) and which means "taken" (format rule 1).
 */
import { S3ServiceException } from './s3-sdk.js'
import { NotFoundError, ToolError, reasonOf, systemErrorCode } from '../errors.js'

/** What was being done when the error came. */
export interface S3Attempt {
  /** What could not be done: `read`, `write`, `list` … */
  verb: string
  bucket: string
  /** The key as the caller named it; none for requests about the bucket. */
  key?: string | undefined
  signal?: AbortSignal | undefined
}

/** The error to throw: the signal's reason after an abort, an error of ours as it is, a {@link ToolError} for the rest. */
export function s3Failure(error: unknown, { verb, bucket, key, signal }: S3Attempt): unknown {
  if (signal?.aborted === true) return signal.reason
  if (error instanceof ToolError) return error
  const thing = key === undefined ? `bucket "${bucket}"` : `"${key}" in bucket "${bucket}"`
  return new ToolError(
    isConfiguration(error) ? 'configuration' : 'storage',
    `could not ${verb} ${thing}: ${textOf(error)}`,
    {
      hint: hintFor(error),
      cause: error,
    },
  )
}

/** As {@link s3Failure} for a GetObject, with a definite absence told apart. */
export function getFailure(error: unknown, attempt: S3Attempt & { key: string }): unknown {
  if (attempt.signal?.aborted !== true && isDefiniteAbsence(error))
    return new NotFoundError(attempt.key, { cause: error })
  return s3Failure(error, attempt)
}

/**
 * Only `NoSuchKey` on a GET proves absence (G2). A HEAD has no body to say it with, 403 is what a missing key gives
 * without the right to list, `NoSuchBucket` is a wrong URL, and a delete marker means that somebody deleted the object.
 */
function isDefiniteAbsence(error: unknown): boolean {
  return (
    codeOf(error) === 'NoSuchKey' && statusOf(error) === 404 && responseHeader(error, 'x-amz-delete-marker') !== 'true'
  )
}

/** A HEAD that found nothing. */
export function isHeadAbsence(error: unknown): boolean {
  return statusOf(error) === 404
}

/** `If-None-Match: *` found the key taken, or `If-Match` a changed object. */
export function isPreconditionFailed(error: unknown): boolean {
  return statusOf(error) === 412
}

/** Two writers met: the store asks to try again (format rule 1). */
export function isConditionalConflict(error: unknown): boolean {
  return statusOf(error) === 409 && codeOf(error) !== 'NoSuchUpload' && codeOf(error) !== 'BucketAlreadyExists'
}

export function isNoSuchUpload(error: unknown): boolean {
  return codeOf(error) === 'NoSuchUpload'
}

/** The store does not know the request, or a header in it. */
export function isNotImplemented(error: unknown): boolean {
  const status = statusOf(error)
  return status === 501 || status === 405 || codeOf(error) === 'NotImplemented'
}

/** Whether asking once more can help: broken connections, timeouts, throttling and server errors. */
export function isTransient(error: unknown): boolean {
  if (error instanceof ToolError && error.cause !== undefined) return isTransient(error.cause)
  if (isNotImplemented(error)) return false
  const status = statusOf(error)
  if (status !== undefined) return status >= 500 || status === 429 || status === 408
  if (error instanceof Error && error.name === 'TimeoutError') return true
  return TRANSIENT_SYSTEM_ERRORS.has(systemErrorCode(error) ?? '')
}

const TRANSIENT_SYSTEM_ERRORS = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/** How often the SDK sent the request before it gave up or succeeded. */
export function attemptsOf(error: unknown): number {
  return error instanceof S3ServiceException ? (error.$metadata.attempts ?? 1) : 1
}

/** A header of the answer that carried the error. */
export function responseHeader(error: unknown, name: string): string | undefined {
  return error instanceof S3ServiceException ? error.$response?.headers[name] : undefined
}

/** The store's own word for the error (`AccessDenied`), or that of the system (`ECONNREFUSED`). */
function codeOf(error: unknown): string | undefined {
  if (error instanceof S3ServiceException) return error.name
  return systemErrorCode(error)
}

/** HTTP status of the answer, where there was one. */
export function statusOf(error: unknown): number | undefined {
  if (error instanceof S3ServiceException) return error.$metadata.httpStatusCode ?? error.$response?.statusCode
  // an answer that was no XML is a plain Error with these two added by the SDK
  if (typeof error !== 'object' || error === null) return undefined
  const { $metadata, $response } = error as {
    $metadata?: { httpStatusCode?: number }
    $response?: { statusCode?: number }
  }
  return $metadata?.httpStatusCode ?? $response?.statusCode
}

function textOf(error: unknown): string {
  const status = statusOf(error)
  const code = codeOf(error)
  const requestId = error instanceof S3ServiceException ? error.$metadata.requestId : undefined
  const details = [
    ...(status === undefined ? [] : [`HTTP ${status}`]),
    ...(code === undefined || code === String(status) ? [] : [code]),
    ...(requestId === undefined ? [] : [`request id ${requestId}`]),
  ]
  return details.length === 0 ? sentenceOf(error) : `${sentenceOf(error)} (${details.join(', ')})`
}

/** The SDK's texts are written for its own users: package names, advice on options, several lines. */
function sentenceOf(error: unknown): string {
  const text = reasonOf(error)
  if (/did not establish a connection/.test(text)) return 'no connection within the connection timeout'
  if (/exceeded the configured|ms of inactivity/.test(text)) return 'no answer within the request timeout'
  if (/deserialization error/i.test(text)) return 'the answer is not one of an S3 store'
  if (isMissingCredentials(error)) return 'no credentials were found'
  if (error instanceof AggregateError && text === '') return error.errors.map(reasonOf).join('; ')
  const line = text.split('\n')[0]?.trim().replace(/\.$/, '')
  return line === undefined || line === '' || line === 'UnknownError' ? 'the store refused it without a reason' : line
}

function isMissingCredentials(error: unknown): boolean {
  return error instanceof Error && error.name === 'CredentialsProviderError' && /any providers/.test(error.message)
}

function isConfiguration(error: unknown): boolean {
  return error instanceof Error && error.name === 'CredentialsProviderError'
}

const HINTS: Readonly<Record<string, string>> = {
  RequestTimeTooSkewed: 'The clock of this host and that of the store differ by more than 15 minutes: set the clock.',
  AccessDenied: 'Check that the policy of these credentials allows this request on this bucket and prefix.',
  InvalidAccessKeyId: 'The store does not know this access key: check the credentials and the endpoint.',
  SignatureDoesNotMatch: 'Check the secret access key, and that no proxy changes the host or path of requests.',
  ExpiredToken: 'The session token has expired: renew the credentials.',
  NoSuchBucket: 'Create the bucket, or check its name and the endpoint.',
  PermanentRedirect: 'The bucket is in another region: set the region.',
  AuthorizationHeaderMalformed: 'The bucket is probably in another region: set the region.',
  IllegalLocationConstraintException: 'The bucket is in another region: set the region.',
  ECONNREFUSED: 'Nothing listens at the endpoint: check its host and port.',
  ENOTFOUND:
    'The name of the endpoint cannot be resolved: check it, and path-style addressing for stores other than AWS.',
  EAI_AGAIN: 'The name of the endpoint cannot be resolved at the moment: check the name server.',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'Name the certificate authority of the store in NODE_EXTRA_CA_CERTS.',
  SELF_SIGNED_CERT_IN_CHAIN: 'Name the certificate authority of the store in NODE_EXTRA_CA_CERTS.',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'Name the certificate authority of the store in NODE_EXTRA_CA_CERTS.',
  CERT_HAS_EXPIRED: 'The certificate of the store has expired.',
  EPROTO: 'The endpoint does not speak TLS as expected: check http:// and https://.',
  QuotaExceeded: 'The store has no room left for this bucket.',
}

function hintFor(error: unknown): string | undefined {
  if (isConfiguration(error)) {
    return 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of this host.'
  }
  const region = responseHeader(error, 'x-amz-bucket-region')
  const status = statusOf(error)
  if (region !== undefined && status !== undefined && (status === 301 || status === 400)) {
    return `The bucket is in the region ${region}: set the region to that.`
  }
  if (status === 301) return HINTS['PermanentRedirect']
  const code = codeOf(error)
  if (code !== undefined && code in HINTS) return HINTS[code]
  return status === 403 ? HINTS['AccessDenied'] : undefined
}
