/** The form of a repository's URL. */
import { fileURLToPath } from 'node:url'
import { ToolError } from '../errors.js'

/** Where a repository is: a bucket and the keys' prefix in it (no slash at either end), or an absolute path. */
export type StorageLocation = { kind: 's3'; bucket: string; prefix: string } | { kind: 'directory'; path: string }

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

/** Whether {@link parseStorageUrl} takes it. */
export function isStorageUrl(url: string): boolean {
  try {
    parseStorageUrl(url)
    return true
  } catch {
    return false
  }
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
