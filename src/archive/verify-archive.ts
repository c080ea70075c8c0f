/**
 * Job: one archive is read back whole and compared with what it should be, by a reader of its own (V3): the whole stream,
 * every frame, tar-stream, fresh buffers.
 *
 * What is wrong is collected as data and has a place (V7). A fault that follows from another is not told: after the first
 * thing that makes the rest unreadable nothing more is said of this archive, and its hash says nothing new then.
 */
import { NotFoundError, ToolError } from '../errors.js'
import { createFileChecksum } from '../postgres/checksum.js'
import { lettingGo } from '../streams/let-go.js'
import type { Storage } from '../storage/storage.js'
import { FrameReader } from '../streams/frame-reader.js'
import { readTar, type TarHeader } from '../streams/tar-extract.js'
import { ControlCheck } from './control-check.js'
import type { ExpectedFile, FoundFault, JobContext, VerifyJob, VerifyResult } from './jobs.js'
import { PageCheck } from './page-check.js'
import { seekTableProblem } from './seek-table-check.js'

/** A file with damage is told; of thousands the first say enough. */
const MOST_FAULTS = 100

/** Reads one archive. Rejects only where it could not look. */
export async function verifyArchive(job: VerifyJob, storage: Storage, context: JobContext): Promise<VerifyResult> {
  const verification = new Verification(job, context)
  try {
    const body = await storage.get(job.key, { signal: context.signal })
    try {
      await verification.read(lettingGo(body))
    } finally {
      body.destroy()
    }
  } catch (error) {
    context.signal.throwIfAborted()
    if (error instanceof NotFoundError) verification.faults.push({ key: job.key, problem: 'it is missing' })
    else if (error instanceof ToolError && error.code === 'damaged') verification.broken(error.message)
    else throw error
  }
  const { faults, reader, segmentBlocks } = verification
  return { kind: 'verified', key: job.key, faults: faults.slice(0, MOST_FAULTS), bytes: reader.consumed, segmentBlocks }
}

class Verification {
  readonly faults: FoundFault[] = []
  readonly reader = new FrameReader()
  segmentBlocks: number | undefined
  readonly #job: VerifyJob
  readonly #context: JobContext
  #next = 0

  constructor(job: VerifyJob, context: JobContext) {
    this.#job = job
    this.#context = context
  }

  async read(source: AsyncIterable<Uint8Array>): Promise<void> {
    await readTar(this.reader.read(this.#counted(source)), (header, body) => this.#member(header, body))
    const missing = this.#job.files?.[this.#next]
    if (missing) this.#add(fileOf(missing), 'the archive ends before it')
    if (this.faults.length > 0) return
    const table = seekTableProblem(this.reader)
    if (table) this.#add(table.place, table.problem)
    else if (this.#job.sha256 !== undefined && this.reader.digest() !== this.#job.sha256) {
      this.#add(undefined, 'its SHA-256 is not the recorded one, though every file in it is as recorded')
    }
  }

  /** The archive cannot be read on from here. */
  broken(problem: string): void {
    if (this.faults.length > 0) return
    const at = this.reader.produced
    const file = this.#job.files?.findLast(({ offset, size }) => offset <= at && at < offset + Math.max(size, 1))
    const after = this.#job.files?.find(({ offset }) => offset > at)
    const where = file
      ? `, in ${fileOf(file)}, byte ${at - file.offset}`
      : after
        ? `, before ${fileOf(after)}`
        : ', behind the last file'
    this.#add(`${this.reader.place}${this.#job.files ? where : ''}`, problem)
  }

  async *#counted(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.#context.signal.throwIfAborted()
      this.#context.addProgress(chunk.length)
      yield chunk
    }
  }

  async #member(header: TarHeader, body: AsyncIterable<Buffer>): Promise<void> {
    if (header.type === 'directory' || !this.#job.files) return
    const file = this.#job.files[this.#next]
    const name = header.name
    // what follows a member that is not the expected one are its follow-ups
    if (!file) throw new ToolError('damaged', `it has a member ${JSON.stringify(name)} that the index does not name`)
    if (header.type !== 'file' || Buffer.from(file.path, 'latin1').toString() !== name)
      throw new ToolError('damaged', `it has a member ${JSON.stringify(name)} where ${fileOf(file)} is recorded`)
    if (header.size !== file.size)
      throw new ToolError('damaged', `${fileOf(file)} has ${header.size} bytes in it instead of ${file.size}`)
    this.#next++
    await this.#contents(file, body)
  }

  async #contents(file: ExpectedFile, body: AsyncIterable<Buffer>): Promise<void> {
    const checksum = createFileChecksum(this.#job.checksumAlgorithm)
    const pages = PageCheck.of(file, this.#job)
    const control = file.path === 'global/pg_control' ? new ControlCheck() : undefined
    for await (const piece of body) {
      checksum.update(piece)
      pages?.take(piece)
      control?.take(piece)
    }
    const found = checksum.digest()
    const page = pages?.problem()
    if (found !== file.checksum) {
      const place = page ? `${fileOf(file)}, ${page.place}` : fileOf(file)
      this.#add(place, `its ${this.#job.checksumAlgorithm} is ${found} instead of ${file.checksum}`)
      return
    }
    if (page) this.#add(`${fileOf(file)}, ${page.place}`, page.problem)
    const problem = control?.problem(this.#job.control)
    if (problem !== undefined) this.#add(fileOf(file), problem)
    this.segmentBlocks = control?.segmentBlocks ?? this.segmentBlocks
  }

  #add(place: string | undefined, problem: string): void {
    this.faults.push({ key: this.#job.key, ...(place !== undefined && { place }), problem })
  }
}

function fileOf({ path }: { path: string }): string {
  return `file ${JSON.stringify(Buffer.from(path, 'latin1').toString())}`
}
