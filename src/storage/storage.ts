/**
 * Keeps objects by key. Everything above this line speaks of backups and WAL; everything below, of bytes.
 *
 * Five methods, two implementations (S3 and a local directory), one conformance suite. Keys are `/`-separated,
 * relative to the repository's prefix, and never begin with `/`.
 */
import type { Readable } from 'node:stream'

/** A store whose quickest answer takes as many milliseconds is far: more than a near one needs on a busy machine. */
export const FAR_MS = 20

/** What is known of a stored object. */
export interface StoredObject {
  key: string
  /** Bytes as stored. */
  size: number
  /** When the store says it was last written, by the store's own clock. */
  lastModified: Date
}

/**
 * A body that the storage pulls: it owns the buffers, has them filled in place, and reuses each when its part is
 * stored. Nothing is read before the bucket asks for it: the pull is the back-pressure.
 */
export interface PartSource {
  /** Resolves to the number of bytes written; fewer than `buffer.length` means the end. A rejection fails the put. */
  fill(buffer: Uint8Array): Promise<number>
}

/** Options of {@link Storage.put}. */
export interface PutOptions {
  /** Reject with ExistsError rather than replace. Default false. */
  ifAbsent?: boolean
  /** Upper bound of the body in bytes; decides the part size, so that 10,000 parts are never met. Required for a PartSource. */
  maxSize?: number
  /** Called when a multipart upload begins, so that somebody else can abort it should this thread die. */
  onUploadStarted?: (upload: { key: string; uploadId: string }) => void
  signal?: AbortSignal | undefined
}

/** Options of {@link Storage.get}. */
export interface GetOptions {
  /** First byte wanted. Default 0. */
  offset?: number
  /** Number of bytes wanted. Default: to the end. */
  length?: number
  signal?: AbortSignal | undefined
}

export interface Storage {
  /** The repository as the user named it (`s3://bucket/prefix`, `file:///path`), for messages. */
  readonly url: string
  /** Milliseconds of the quickest answer so far, where the store is at any distance; undefined: unknown, or here. */
  readonly distanceMs?: number | undefined

  /**
   * Stores all of `body` under `key`. The object appears whole when the promise resolves, or not at all: a body that
   * fails leaves nothing behind, no multipart upload either. Consumes `body` only as fast as it can store it.
   * With `ifAbsent`, rejects with ExistsError rather than replace; the caller compares, since that can be the echo of
   * our own retry (format rule 1). `ifAbsent` is atomic where the store honours `If-None-Match: *`; where it was found
   * not to, it is a look before the write, with the race that leaves.
   */
  put(key: string, body: Uint8Array | Readable | PartSource, options?: PutOptions): Promise<StoredObject>

  /**
   * Opens an object or a range of it. Rejects with NotFoundError, before any byte, only when the store says definitely
   * that the key does not exist (NoSuchKey on a GET; G2): 403, a missing bucket and a delete marker are other errors.
   * The stream fails if it ends early, and goes on at its offset when the connection breaks.
   */
  get(key: string, options?: GetOptions): Promise<Readable>

  /** What is stored under `key`, or undefined where nothing is. No proof of absence for WAL: use get for that (G2). */
  head(key: string, options?: { signal?: AbortSignal | undefined }): Promise<StoredObject | undefined>

  /** Objects whose key begins with `prefix`, in ascending order of the key's bytes, each once; reads pages as they are needed. */
  list(prefix: string, options?: { startAfter?: string; signal?: AbortSignal | undefined }): AsyncIterable<StoredObject>

  /** Deletes all keys; a missing key is no error; any key that could not be deleted makes it reject with DeleteError, naming them. */
  delete(keys: readonly string[], options?: { signal?: AbortSignal | undefined }): Promise<void>

  /** Frees connections. The storage is not used afterwards. */
  close(): void
}
