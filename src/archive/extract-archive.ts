/**
 * Job: one archive → files on disk, each compared with its size and checksum while it is written (R5).
 *
 * The index says where each file lies; the tar headers are checked against it, not trusted. A file that does not match
 * fails the restore, and the cluster stays unstartable, since pg_control gets its name last (R6).
 */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { createFileChecksum } from '../postgres/checksum.js'
import { FileWriter } from '../streams/file-writer.js'
import { settle } from '../streams/settle.js'
import { tarHeaderProblem } from '../streams/tar-header.js'
import { decompress } from '../streams/zstd-decompress.js'
import type { ArchiveReader } from './archive-reader.js'
import type { ExtractFile, ExtractJob, ExtractResult, JobContext } from './jobs.js'
import { checkRelativePath } from './safe-path.js'

const HEADER_BYTES = 512

/**
 * Extracts the files of one archive, through page-aligned memory for two frames: one is written while the next is
 * decompressed. Rejects with the first mismatch; what was written by then stays.
 */
export async function extractArchive(
  job: ExtractJob,
  reader: ArchiveReader,
  rooms: readonly [Uint8Array, Uint8Array],
  context: JobContext,
): Promise<ExtractResult> {
  const body = reader.read(job.key, job.storedBytes, context.signal)
  const extraction = new Extraction(job)
  const hash = createHash('sha256')
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      hash.update(chunk)
      yield chunk
    }
  }
  try {
    const stored = job.sha256 === undefined ? body : hashed()
    // what is written has the checksum of its file: those of the frames would say it twice (R5)
    for await (const bytes of decompress(stored, rooms, job.key, { checksums: false })) {
      context.signal.throwIfAborted()
      const before = extraction.writing
      extraction.take(bytes)
      await before // the other room is free then
      context.addProgress(bytes.length)
    }
    await extraction.end()
    if (job.sha256 !== undefined && hash.digest('hex') !== job.sha256)
      throw new ToolError('damaged', `"${job.key}" is damaged: its SHA-256 is not the recorded one`)
  } finally {
    await extraction.close()
    await body.return()
  }
  const bytes = job.files.reduce((sum, file) => sum + file.size, 0)
  return { kind: 'extracted', archive: job.archive, key: job.key, files: job.files.length, bytes }
}

interface OpenFile {
  file: ExtractFile
  writer: FileWriter
  checksum: ReturnType<typeof createFileChecksum>
}

class Extraction {
  readonly #job: ExtractJob
  readonly #header = new Uint8Array(HEADER_BYTES)
  #position = 0
  #next = 0
  #open: OpenFile | undefined
  /** What still writes from the memory of the pieces taken, if anything does. */
  writing: Promise<void> | undefined

  constructor(job: ExtractJob) {
    this.#job = job
  }

  /** Takes the next bytes of the tar. */
  take(bytes: Uint8Array): void {
    let at = 0
    for (;;) {
      if (this.#open) {
        const piece = bytes.subarray(at, at + this.#open.writer.rest)
        if (piece.length > 0) {
          this.#keep(this.#open.writer.write(piece, at + piece.length === bytes.length))
          this.#open.checksum.update(piece)
        }
        at += piece.length
        if (this.#open.writer.rest > 0) break
        this.#finish(this.#open)
        this.#open = undefined
      }
      const file = this.#job.files[this.#next]
      if (!file) break
      const start = file.offset - (this.#position + at)
      if (start < 0) this.#fail(file, 'its offset lies inside another member')
      this.#keepHeader(bytes, at, file.offset)
      if (start > bytes.length - at) break
      at += start
      this.#begin(file)
      this.#next++
    }
    this.#position += bytes.length
  }

  /** The tar is at its end: it must have held every file. Resolves once all of them are written. */
  async end(): Promise<void> {
    const missing = this.#open?.file ?? this.#job.files[this.#next]
    if (missing) this.#fail(missing, 'the archive ends before it')
    await this.writing
  }

  /** Resolves once nothing writes any more: neither the memory nor a descriptor is used by anybody then. */
  async close(): Promise<void> {
    await this.writing?.catch(() => undefined) // who waited for it was told, and another failure came first else
    await this.#open?.writer.close()
  }

  #keep(write: Promise<void> | undefined): void {
    if (!write) return
    const all = settle([this.writing ?? Promise.resolve(), write]).then(() => {
      if (this.writing === all) this.writing = undefined
    })
    all.catch(() => undefined) // as close()
    this.writing = all
  }

  /** Copies what these bytes hold of the header block that ends at `offset`. */
  #keepHeader(bytes: Uint8Array, from: number, offset: number): void {
    const headerStart = offset - HEADER_BYTES
    const begin = Math.max(from, headerStart - this.#position)
    const end = Math.min(bytes.length, offset - this.#position)
    if (end > begin) this.#header.set(bytes.subarray(begin, end), this.#position + begin - headerStart)
  }

  #begin(file: ExtractFile): void {
    checkRelativePath(file.path, this.#job.key)
    const problem = tarHeaderProblem(this.#header, file.size)
    if (problem) this.#fail(file, problem)
    const path = Buffer.from(`${this.#job.targetDirectory}/${file.path}`, 'latin1')
    const owner = this.#job.setOwner ? { uid: file.uid, gid: file.gid } : undefined
    const writer = new FileWriter(path, { size: file.size, mode: file.mode, owner })
    this.#open = { file, writer, checksum: createFileChecksum(this.#job.checksumAlgorithm) }
  }

  #finish({ file, writer, checksum }: OpenFile): void {
    const found = checksum.digest()
    if (found !== file.checksum) {
      this.#fail(file, `its ${this.#job.checksumAlgorithm} is ${found} instead of ${file.checksum}`)
    }
    this.#keep(writer.finish())
  }

  #fail(file: ExtractFile, problem: string): never {
    const path = Buffer.from(file.path, 'latin1').toString()
    throw new ToolError('damaged', `"${path}" in "${this.#job.key}" is damaged: ${problem}`)
  }
}
