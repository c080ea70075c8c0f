/**
 * Keeps objects as files under one directory, for a repository on a local or mounted file system and for tests.
 *
 * A key is the path below the directory, so a key cannot be both an object and the folder of another (`x` beside
 * `x/y`), and segments that a file system folds away (empty, `.`, `..`) are refused. Objects appear by link() or
 * rename() after fsync, so no reader ever sees half of one.
 */
import type { Dirent } from 'node:fs'
import { mkdir, open, readdir, rmdir, stat, unlink } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { Readable } from 'node:stream'
import { DeleteError, ExistsError, NotFoundError, ToolError, reasonOf, systemErrorCode } from '../errors.js'
import { isTemporaryName, syncDirectory, writeFileDurably } from '../streams/write-file-durably.js'
import type { RateLimit } from '../streams/rate-limit.js'
import { abortable } from './abortable.js'
import { boundedBody } from './bounded-body.js'
import { readFileRange } from './read-file-range.js'
import type { UnfinishedUpload, UploadHolder } from './stale-uploads.js'
import type { GetOptions, PartSource, PutOptions, Storage, StoredObject } from './storage.js'

/** Large enough that a write costs little, small enough not to matter beside the pipeline's own buffers. */
const PART_SOURCE_BUFFER_BYTES = 1024 * 1024

export class DirectoryStorage implements Storage, UploadHolder {
  readonly url: string
  readonly #root: string
  readonly #limit: RateLimit | undefined

  constructor({ url, path, limit }: { url: string; path: string; limit?: RateLimit | undefined }) {
    this.url = url
    this.#root = path
    this.#limit = limit
  }

  async put(key: string, body: Uint8Array | Readable | PartSource, options: PutOptions = {}): Promise<StoredObject> {
    const path = this.#pathOf(key)
    const { ifAbsent = false, maxSize, signal } = options
    const content =
      body instanceof Uint8Array
        ? body
        : boundedBody(key, chunksOf(body, signal), { maxSize, limit: this.#limit, signal })
    try {
      signal?.throwIfAborted()
      const size = await this.#write(path, content, { ifAbsent, signal })
      const { mtime } = await stat(path)
      return { key, size, lastModified: mtime }
    } catch (error) {
      if (body instanceof Readable) body.destroy()
      if (signal?.aborted === true) throw signal.reason
      if (ifAbsent && systemErrorCode(error) === 'EEXIST') throw new ExistsError(key, { cause: error })
      throw this.#failure('write', key, error)
    }
  }

  /** A `delete` that runs meanwhile may take away an empty folder just made; nothing of the body is read before then. */
  async #write(
    path: string,
    content: Uint8Array | AsyncIterable<Uint8Array>,
    options: { ifAbsent: boolean; signal: AbortSignal | undefined },
  ): Promise<number> {
    for (let attempt = 1; ; attempt += 1) {
      await makeDirectoryDurably(dirname(path))
      const started = { value: false }
      try {
        return await writeFileDurably(path, content instanceof Uint8Array ? content : noted(content, started), options)
      } catch (error) {
        if (started.value || attempt === 5 || systemErrorCode(error) !== 'ENOENT') throw error
      }
    }
  }

  async get(key: string, { offset = 0, length, signal }: GetOptions = {}): Promise<Readable> {
    signal?.throwIfAborted()
    try {
      const file = await open(this.#pathOf(key), 'r')
      try {
        const status = await file.stat()
        if (!status.isFile()) throw new NotFoundError(key)
        const end = Math.min(status.size, length === undefined ? status.size : offset + length)
        if (end <= offset) {
          await file.close()
          return Readable.from([], { objectMode: false })
        }
        return readFileRange(file, { name: key, start: offset, end, signal, limit: this.#limit }) // closes the file in the end
      } catch (error) {
        await file.close()
        throw error
      }
    } catch (error) {
      if (!isAbsence(error)) throw error instanceof NotFoundError ? error : this.#failure('read', key, error)
      // a storage that is not there at all proves no absence (G2)
      await this.#requireRoot()
      throw new NotFoundError(key, { cause: error })
    }
  }

  async head(key: string, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<StoredObject | undefined> {
    signal?.throwIfAborted()
    try {
      const status = await stat(this.#pathOf(key))
      return status.isFile() ? { key, size: status.size, lastModified: status.mtime } : undefined
    } catch (error) {
      if (!isAbsence(error)) throw this.#failure('look at', key, error)
      await this.#requireRoot()
      return undefined
    }
  }

  async *list(
    prefix: string,
    { startAfter = '', signal }: { startAfter?: string; signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<StoredObject> {
    for await (const path of this.#walk('', { prefix, startAfter, signal })) {
      if (isTemporaryName(path) || !path.startsWith(prefix) || compareKeys(path, startAfter) <= 0) continue
      const object = await this.head(path, { signal })
      if (object !== undefined) yield object
    }
  }

  async delete(keys: readonly string[], { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const failed: { key: string; error: unknown }[] = []
    for (const key of keys) {
      signal?.throwIfAborted()
      try {
        await this.#remove(this.#pathOf(key))
      } catch (error) {
        failed.push({ key, error })
      }
    }
    const [first] = failed
    if (first === undefined) return
    const names = failed.map(({ key }) => `"${key}"`).join(', ')
    throw new DeleteError(
      failed.map(({ key, error }) => ({ key, reason: reasonOf(error) })),
      `could not delete ${names} from "${this.url}": ${reasonOf(first.error)}`,
      { cause: first.error },
    )
  }

  close(): void {
    // holds nothing open
  }

  async *listUploads(
    prefix: string,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<UnfinishedUpload> {
    for await (const path of this.#walk('', { prefix, startAfter: '', signal })) {
      if (!isTemporaryName(path) || !path.startsWith(prefix)) continue
      const status = await stat(join(this.#root, path)).catch(() => undefined)
      if (status !== undefined) yield { key: path, uploadId: path, initiated: status.birthtime }
    }
  }

  async abortUpload({ uploadId }: { uploadId: string }): Promise<void> {
    if (!isTemporaryName(uploadId)) throw new ToolError('storage', `"${uploadId}" is no unfinished file`)
    await this.#remove(join(this.#root, ...uploadId.split('/')))
  }

  /** Paths of all files below `folder` ('' or ending in '/'), in byte order, without the folders that cannot match. */
  async *#walk(
    folder: string,
    options: { prefix: string; startAfter: string; signal: AbortSignal | undefined },
  ): AsyncGenerator<string> {
    options.signal?.throwIfAborted()
    let entries: Dirent[]
    try {
      entries = await readdir(join(this.#root, folder), { withFileTypes: true })
    } catch (error) {
      if (folder !== '' && isAbsence(error)) return // deleted meanwhile
      throw this.#failure('list', folder, error)
    }
    // a folder sorts as its objects do, by the slash that follows its name: `a.b` comes before `a/c`
    const names = entries.map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name)).sort(compareKeys)
    for (const name of names) {
      const path = folder + name
      if (!name.endsWith('/')) yield path
      else if (canHold(path, options)) yield* this.#walk(path, options)
    }
  }

  async #remove(path: string): Promise<void> {
    try {
      await unlink(path)
    } catch (error) {
      if (!isAbsence(error)) throw error
      return
    }
    await syncDirectory(dirname(path)).catch(() => undefined)
    for (let folder = dirname(path); isBelow(this.#root, folder); folder = dirname(folder)) {
      try {
        await rmdir(folder)
      } catch {
        return // in use by another object
      }
    }
  }

  #pathOf(key: string): string {
    const segments = key.split('/')
    if (
      segments.some(
        (name) => name === '' || name === '.' || name === '..' || name.includes('\0') || isTemporaryName(name),
      )
    )
      throw new ToolError('storage', `"${key}" cannot be a file name in "${this.url}"`)
    return join(this.#root, ...segments)
  }

  async #requireRoot(): Promise<void> {
    try {
      await stat(this.#root)
    } catch (error) {
      throw new ToolError('storage', `could not open "${this.url}": ${reasonOf(error)}`, { cause: error })
    }
  }

  #failure(verb: string, key: string, error: unknown): unknown {
    // only errors of system calls: one thrown by the body, or a bug, keeps its identity
    if (
      error instanceof ToolError ||
      systemErrorCode(error) === undefined ||
      !(error instanceof Error && 'syscall' in error)
    )
      return error
    return new ToolError('storage', `could not ${verb} "${key}" in "${this.url}": ${reasonOf(error)}`, { cause: error })
  }
}

/** Order of keys: by the bytes of their UTF-8, as S3 lists them (O7). JavaScript's own order differs above U+FFFF. */
export function compareKeys(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b))
}

/** Whether a folder can hold a key that begins with `prefix` and comes after `startAfter`. */
function canHold(folder: string, { prefix, startAfter }: { prefix: string; startAfter: string }): boolean {
  if (!folder.startsWith(prefix) && !prefix.startsWith(folder)) return false
  return startAfter.startsWith(folder) || compareKeys(folder, startAfter) > 0
}

function isAbsence(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function isBelow(root: string, path: string): boolean {
  const below = relative(root, path)
  return below !== '' && below !== '..' && !below.startsWith(`..${sep}`)
}

/** Also makes the names of the new folders durable, from the first one made down. */
async function makeDirectoryDurably(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let folder = path; folder.length >= first.length; folder = dirname(folder)) await syncDirectory(dirname(folder))
}

async function* chunksOf(body: Readable | PartSource, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  if (body instanceof Readable) {
    const stop = (): void => void body.destroy(signal?.reason instanceof Error ? signal.reason : undefined)
    signal?.addEventListener('abort', stop, { once: true })
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array | string>) {
        yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
      }
    } finally {
      signal?.removeEventListener('abort', stop)
    }
    return
  }
  const buffer = Buffer.allocUnsafe(PART_SOURCE_BUFFER_BYTES)
  for (;;) {
    const filled = await abortable(body.fill(buffer), signal)
    if (filled > 0) yield buffer.subarray(0, filled)
    if (filled < buffer.length) return
  }
}

async function* noted(chunks: AsyncIterable<Uint8Array>, started: { value: boolean }): AsyncGenerator<Uint8Array> {
  started.value = true
  yield* chunks
}
