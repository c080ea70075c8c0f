/**
 * Turns a repository's URL into the storage behind it.
 *
 * The S3 implementation is imported only where it is used: loading the SDK costs 50 ms, which a repository in a
 * directory should not pay.
 */
import { RateLimit } from '../streams/rate-limit.js'
import { DirectoryStorage } from './directory-storage.js'
import type { StorageOptions } from './storage-options.js'
import { parseStorageUrl } from './storage-url.js'
import type { Storage } from './storage.js'

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
