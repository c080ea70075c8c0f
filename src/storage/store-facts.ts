/**
 * What a bucket is set up to do, as its store tells: versions, locks, encryption, lifecycle rules. A store that does not
 * know such a question, or credentials that may not ask it, leave it unknown; that is no fault of the bucket.
 */
import type { Storage } from './storage.js'

/** An answer, or why there is none. */
export type Told<T> = { value: T } | { unknown: string }

/** A lifecycle rule that is switched on. */
export interface LifecycleRule {
  id: string
  /** Keys in the bucket that it is about begin with this. */
  prefix: string
  /** It is only about objects with certain tags, which ours have not. */
  needsTags: boolean
  /** Objects are deleted, or hidden behind a delete marker. */
  expires: boolean
  /** Storage classes that objects are moved to. */
  transitions: string[]
  /** Old versions are deleted. */
  expiresVersions: boolean
  /** Unfinished multipart uploads are aborted. */
  abortsUploads: boolean
}

/** See the head of this file. */
export interface StoreFacts {
  bucket: string
  /** Where the repository begins in the bucket: empty, or ending in `/`. */
  prefix: string
  region: Told<string>
  /** The access key that requests are signed with; not its secret. */
  accessKey: Told<string>
  versioning: Told<'on' | 'suspended' | 'off'>
  /** `GOVERNANCE, 30 days`; off: null. */
  objectLock: Told<string | null>
  /** Algorithm; null: none. */
  encryption: Told<string | null>
  lifecycle: Told<LifecycleRule[]>
}

/** What a storage with such facts does in addition to {@link Storage}. */
export interface FactsHolder {
  facts(options?: { signal?: AbortSignal | undefined }): Promise<StoreFacts>
}

/** The facts of a bucket; undefined for a directory, which has none. Rejects only when aborted. */
export async function readStoreFacts(storage: Storage, signal?: AbortSignal): Promise<StoreFacts | undefined> {
  return isFactsHolder(storage) ? storage.facts({ signal }) : undefined
}

function isFactsHolder(storage: object): storage is Storage & FactsHolder {
  return 'facts' in storage
}
