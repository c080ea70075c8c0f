/** A storage in memory whose clock a test sets, and whose deletions can be cut short as those of a run that is killed. */
import { Readable } from 'node:stream'
import { DeleteError, ExistsError, NotFoundError } from '#src/errors.js'
import type { UnfinishedUpload } from '#src/storage/stale-uploads.js'
import type { GetOptions, PartSource, PutOptions, Storage, StoredObject } from '#src/storage/storage.js'

/** What a deletion throws that was told to end. */
export class Killed extends Error {}

export class MemoryStorage implements Storage {
  readonly url = 'file:///memory'
  readonly objects = new Map<string, { bytes: Buffer; lastModified: Date }>()
  readonly uploads: UnfinishedUpload[] = []
  clock = new Date(0)
  #keys: readonly string[] | undefined
  /** Deletions that are still carried out before {@link Killed}. */
  deletionsLeft = Infinity
  /** Keys that are locked. */
  isLocked: (key: string) => boolean = () => false

  async put(key: string, body: Uint8Array | Readable | PartSource, options: PutOptions = {}): Promise<StoredObject> {
    const bytes = await bytesOf(body)
    if (options.ifAbsent && this.objects.has(key)) throw new ExistsError(key)
    this.objects.set(key, { bytes, lastModified: this.clock })
    this.#keys = undefined
    return { key, size: bytes.length, lastModified: this.clock }
  }

  get(key: string, { offset = 0, length }: GetOptions = {}): Promise<Readable> {
    const object = this.objects.get(key)
    if (!object) return Promise.reject(new NotFoundError(key))
    const end = length === undefined ? undefined : offset + length
    return Promise.resolve(Readable.from([object.bytes.subarray(offset, end)], { objectMode: false }))
  }

  head(key: string): Promise<StoredObject | undefined> {
    const object = this.objects.get(key)
    const { lastModified } = object ?? {}
    return Promise.resolve(object && { key, size: object.bytes.length, lastModified: lastModified! })
  }

  async *list(prefix: string, { startAfter = '' }: { startAfter?: string } = {}): AsyncGenerator<StoredObject> {
    const keys = this.keys()
    let at = 0
    for (let end = keys.length; at < end;) {
      const middle = (at + end) >> 1
      if (keys[middle]! > startAfter && keys[middle]! >= prefix) end = middle
      else at = middle + 1
    }
    await Promise.resolve()
    for (; keys[at]?.startsWith(prefix); at++) {
      const object = this.objects.get(keys[at]!)
      if (object) yield { key: keys[at]!, size: object.bytes.length, lastModified: object.lastModified }
    }
  }

  delete(keys: readonly string[]): Promise<void> {
    const failed = keys.filter((key) => this.objects.has(key) && this.isLocked(key))
    for (const key of keys) {
      if (failed.includes(key)) continue
      if (this.deletionsLeft-- <= 0) return Promise.reject(new Killed('killed'))
      this.objects.delete(key)
      this.#keys = undefined
    }
    if (failed.length === 0) return Promise.resolve()
    return Promise.reject(
      new DeleteError(
        failed.map((key) => ({ key, reason: 'it is locked (AccessDenied)' })),
        'could not delete',
      ),
    )
  }

  async *listUploads(prefix: string): AsyncGenerator<UnfinishedUpload> {
    yield* await Promise.resolve(this.uploads.filter(({ key }) => key.startsWith(prefix)))
  }

  abortUpload({ uploadId }: { uploadId: string }): Promise<void> {
    const at = this.uploads.findIndex((upload) => upload.uploadId === uploadId)
    if (at >= 0) this.uploads.splice(at, 1)
    return Promise.resolve()
  }

  now(): Promise<Date> {
    return Promise.resolve(this.clock)
  }

  close(): void {
    // holds nothing open
  }

  /** Keys of all objects, sorted. */
  keys(): readonly string[] {
    this.#keys ??= [...this.objects.keys()].sort()
    return this.#keys
  }
}

async function bytesOf(body: Uint8Array | Readable | PartSource): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body)
  const chunks: Buffer[] = []
  if (body instanceof Readable) {
    for await (const chunk of body as AsyncIterable<Uint8Array>) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks)
  }
  const buffer = Buffer.alloc(64 * 1024)
  for (;;) {
    const filled = await body.fill(buffer)
    chunks.push(Buffer.from(buffer.subarray(0, filled)))
    if (filled < buffer.length) return Buffer.concat(chunks)
  }
}
