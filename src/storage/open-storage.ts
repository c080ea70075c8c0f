/**
 * Turns a repository's URL into the storage behind it.
 *
 * The S3 implementation is imported only where it is used: loading the SDK costs 50 ms, which a repository in a
 * directory should not pay.
 */
import { fileURLToPath } from 'node:url'
import { ToolError } from '../errors.js'
import { RateLimit } from '../streams/rate-limit.js'
import { DirectoryStorage } from './directory-storage.js'
import type { StorageOptions } from './storage-options.js'
import type { Storage } from './storage.js'

/** Where a repository is: a bucket and the keys' prefix in it (no slash at either end), or an absolute path. */
export type StorageLocation = { kind: 's3'; bucket: string; prefix: string } | { kind: 'directory'; path: string }

/** Opens the storage without speaking to it. Rejects with a `usage` error for a URL that names none. */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const location = parseStorageUrl(options.url)
  if (location.kind === 'directory') {
    const limit = options.rate && new RateLimit(options.rate, 'transfers')
    return new DirectoryStorage({ url: options.url, path: location.path, limit })
  }
  const { openS3Storage } = await import('./s3-storage.js')
  return openS3Storage({ ...options, bucket: location.bucket, prefix: location.prefix })
}

/** Reads `s3://bucket/prefix` or `file:///path`. Throws a `usage` error that names the URL and what would be right. */
export function parseStorageUrl(url: string): StorageLocation {
  const s3 = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]*)(?:\/(.*))?$/.exec(url)
  if (s3 !== null) {
    const [, bucket = '', path = ''] = s3
    const prefix = path.replace(/^\/+|\/+$/g, '')
    if (!/[?#]/.test(prefix) && !prefix.split('/').some(isOddSegment)) return { kind: 's3', bucket, prefix }
    if (prefix === '') return { kind: 's3', bucket, prefix }
  }
  const path = pathOfFileUrl(url)
  if (path !== undefined) return { kind: 'directory', path }
  throw new ToolError(
    'usage',
    `"${withoutPassword(url)}" is no storage URL: s3://bucket/prefix or file:///path is needed`,
  )
}

/** Segments that a store, a proxy or a file system may fold away, so that two names would be one. */
function isOddSegment(segment: string): boolean {
  return segment === '' || segment === '.' || segment === '..'
}

function pathOfFileUrl(url: string): string | undefined {
  if (!/^file:\/\/\/[^?#]*$/.test(url)) return undefined
  try {
    return fileURLToPath(url)
  } catch {
    return undefined
  }
}

/** People paste `s3://key:secret@bucket`; the message goes to logs. */
function withoutPassword(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//…@')
}
