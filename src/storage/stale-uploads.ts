/**
 * Finds and removes what puts left that did not end: multipart uploads in a bucket, temporary files in a directory (O5).
 *
 * They are invisible in every listing of objects, and a bucket bills them for ever. Age is measured by the storage's
 * own clock, so the caller takes its limit from there too.
 */
import { ToolError } from '../errors.js'
import type { Storage } from './storage.js'

/** A put that began and is not known to have ended. */
export interface UnfinishedUpload {
  key: string
  uploadId: string
  /** When it began, by the storage's clock. */
  initiated: Date
}

/** What a storage does in addition to {@link Storage} so that unfinished uploads can be found. */
export interface UploadHolder {
  listUploads(prefix: string, options?: { signal?: AbortSignal | undefined }): AsyncIterable<UnfinishedUpload>
  /** Ends one upload; one that is gone is no error. */
  abortUpload(upload: { key: string; uploadId: string }, options?: { signal?: AbortSignal | undefined }): Promise<void>
}

/** Options of {@link staleUploads}. */
export interface StaleUploadsOptions {
  /** Only uploads whose key begins with this. Default: all of the repository. */
  prefix?: string | undefined
  /** Only uploads that began before this instant. */
  initiatedBefore: Date
  signal?: AbortSignal | undefined
}

/** The unfinished uploads of a storage that are older than a limit. */
export async function* staleUploads(
  storage: Storage,
  { prefix = '', initiatedBefore, signal }: StaleUploadsOptions,
): AsyncGenerator<UnfinishedUpload> {
  for await (const upload of holderOf(storage).listUploads(prefix, { signal })) {
    if (upload.initiated < initiatedBefore) yield upload
  }
}

/** Aborts every stale upload and resolves to those; rejects at the first that could not be aborted. */
export async function abortStaleUploads(storage: Storage, options: StaleUploadsOptions): Promise<UnfinishedUpload[]> {
  const aborted: UnfinishedUpload[] = []
  for await (const upload of staleUploads(storage, options)) {
    await holderOf(storage).abortUpload(upload, { signal: options.signal })
    aborted.push(upload)
  }
  return aborted
}

/** Aborts one upload, known from `onUploadStarted`, whose owner died. One that is gone is no error. */
export async function abortUpload(
  storage: Storage,
  upload: { key: string; uploadId: string },
  options: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  await holderOf(storage).abortUpload(upload, options)
}

function holderOf(storage: Storage): UploadHolder {
  if (isUploadHolder(storage)) return storage
  throw new ToolError('storage', `could not list unfinished uploads in "${storage.url}": this storage cannot tell`)
}

function isUploadHolder(storage: object): storage is Storage & UploadHolder {
  return 'listUploads' in storage && 'abortUpload' in storage
}
