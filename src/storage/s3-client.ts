/**
 * Makes the S3 client: endpoint, addressing, timeouts, retries, and which checksums travel.
 *
 * Nothing here knows a provider by name. What differs between stores is either said by the user (endpoint, region,
 * path style) or was probed before (abilities).
 */
import { S3Client } from './s3-sdk.js'
import type { S3ClientConfig } from '@aws-sdk/client-s3'
import { ToolError } from '../errors.js'
import type { StorageOptions } from './storage-options.js'

/** Time for one request where nothing is said: longer than a store takes to join the parts of a large upload. */
export const DEFAULT_REQUEST_TIMEOUT_MS = 60_000
/** With the SDK's short back-off these last about ten seconds: longer than a failover of a store as a rule. */
const DEFAULT_MAX_ATTEMPTS = 10
/** A host that is there answers a SYN within this, also across an ocean and after two lost packets. */
const CONNECTION_TIMEOUT_MS = 10_000
/** More than parts in flight and single deletes together; a request that queues for a socket would count as not connected. */
const MAX_SOCKETS = 256

/** Opens a client without speaking to the store. Rejects with a `configuration` error where no region can be found. */
export async function connectS3(options: StorageOptions): Promise<S3Client> {
  const endpoint = parseEndpoint(options.endpoint)
  const requestTimeout = options.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS }
  const config: S3ClientConfig = {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...(options.region === undefined ? {} : { region: options.region }),
    maxAttempts: options.maxAttempts ?? DEFAULT_MAX_ATTEMPTS,
    retryMode: 'standard',
    requestHandler: {
      connectionTimeout: Math.min(CONNECTION_TIMEOUT_MS, requestTimeout),
      requestTimeout,
      throwOnRequestTimeout: true, // else the SDK only logs
      socketTimeout: requestTimeout, // a connection that moves no byte, in either direction, also in mid-body (O4)
      httpAgent: agent,
      httpsAgent: agent,
    },
    // we name each checksum ourselves, as a header computed beforehand; the SDK's default of trailers fails on many stores
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // with 100-continue the SDK opens a new connection for every body of 2 MiB or more
    expectContinueHeader: false,
  }
  const asked = newClient(config)
  const reached = endpoint ?? (await endpointOfChain(asked))
  const isForeign = reached !== undefined && !isAmazon(reached)
  const region = await regionOf(asked, reached !== undefined)
  asked.destroy()
  const client = newClient({
    ...config,
    region,
    forcePathStyle: options.pathStyle ?? isForeign,
    followRegionRedirects: reached === undefined,
  })
  if (options.abilities?.checksumHeaders !== false) leavePayloadUnsigned(client)
  return client
}

/** The SDK warns on stderr, from the constructor, that it will leave this Node.js one day: not a user's business. */
function newClient(config: S3ClientConfig): S3Client {
  const original = process.emitWarning.bind(process)
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (!String(warning).includes('NodeVersionSupportWarning')) Reflect.apply(original, process, [warning, ...rest])
  }
  try {
    return new S3Client(config)
  } finally {
    process.emitWarning = original
  }
}

function parseEndpoint(endpoint: string | undefined): string | undefined {
  if (endpoint === undefined) return undefined
  if (/^https?:\/\//.test(endpoint) && URL.canParse(endpoint)) return endpoint
  throw new ToolError('configuration', `"${endpoint}" is no endpoint: http://host:port or https://host is needed`)
}

/** What AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or the profile say, as the SDK itself will read them. */
async function endpointOfChain(client: S3Client): Promise<string | undefined> {
  const { config } = client
  const found: unknown = 'serviceConfiguredEndpoint' in config ? config.serviceConfiguredEndpoint : undefined
  if (typeof found !== 'function') return undefined
  const endpoint: unknown = await Reflect.apply(found, config, [])
  return typeof endpoint === 'string' && endpoint !== '' ? endpoint : undefined
}

function isAmazon(endpoint: string): boolean {
  if (!URL.canParse(endpoint)) return false
  return /(^|\.)amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname)
}

async function regionOf(client: S3Client, hasEndpoint: boolean): Promise<string> {
  try {
    return await client.config.region()
  } catch (error) {
    // other stores take any region as long as both sides sign with the same one, and this is everybody's default
    if (hasEndpoint) return 'us-east-1'
    throw new ToolError('configuration', 'no AWS region is set', {
      hint: 'Set the region, AWS_REGION, or an endpoint where the store is not AWS.',
      cause: error,
    })
  }
}

/**
 * TLS protects the body already, and a CRC32 guards it end to end; the SHA-256 that the signature would take of every
 * part costs a third of a core at 500 MB/s. Over plain http the hash stays, and so it does for a store that takes no
 * checksum header: there it is all the protection there is.
 */
function leavePayloadUnsigned(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { protocol?: string; headers?: Record<string, string> }
      if (request.protocol === 'https:' && request.headers !== undefined) {
        request.headers['x-amz-content-sha256'] ??= 'UNSIGNED-PAYLOAD'
      }
      return next(args)
    },
    { step: 'build', name: 'pgsluiceUnsignedPayload' },
  )
}
