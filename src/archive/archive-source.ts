/**
 * The body of one archive, pulled by the storage: header, file bytes, padding, zstd frames, seek table.
 *
 * One buffer holds one frame: files are read straight into it, their pages checked and their bytes hashed while they
 * are in the cache, and the frame is compressed from there straight into the part that the bucket asked for. A file of
 * 1 MiB or more has frames of its own, so that it can be read back into page-aligned memory (format rule 5).
 */
import { createHash } from 'node:crypto'
import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { checksumLength, createFileChecksum } from '../postgres/checksum.js'
import { createPageChecker, type PageChecker } from '../postgres/page-checksum.js'
import type { PartSource } from '../storage/storage.js'
import { ExactFile } from '../streams/exact-length.js'
import { BLOCK } from '../streams/plain-tar-header.js'
import { TAR_END_BYTES, tarHeader, tarPadding } from '../streams/tar-header.js'
import { FrameCompressor, seekTable } from '../streams/zstd-compress.js'
import { FRAME_BYTES, OWN_FRAMES_BYTES } from './archive-plan.js'
import { filesOf, PackedFiles } from './file-columns.js'
import type { FileRemark, JobContext, PackJob, PackResult } from './jobs.js'
import type { PackMember } from './pack-member.js'
import { PageVerification } from './page-verification.js'

/** Bytes that are read, checked and hashed at a time: small enough for the cache, large enough for few system calls. */
const PIECE_BYTES = 1024 * 1024
/** What a backup that is to stay out of the way reads at a time: the disk is free for others between two of them. */
const SMALL_PIECE_BYTES = 128 * 1024
const WASM_PAGE = 65536
/** No WAL restores the end of a configuration file that has grown since the walk: it is read as it is now (F1). */
const LARGEST_CONFIGURATION = 256 * 1024

/** Memory that a thread keeps from archive to archive. */
export interface FrameMemory {
  bytes: Uint8Array
  checker: (blockSize: number) => PageChecker
}

/** Page-aligned memory for one frame, in which the page checker works without a copy. */
export function createFrameMemory(): FrameMemory {
  const memory = new WebAssembly.Memory({ initial: FRAME_BYTES / WASM_PAGE, maximum: FRAME_BYTES / WASM_PAGE })
  const checkers = new Map<number, PageChecker>()
  return {
    bytes: new Uint8Array(memory.buffer),
    checker: (blockSize) => {
      const checker = checkers.get(blockSize) ?? createPageChecker(memory, blockSize)
      checkers.set(blockSize, checker)
      return checker
    },
  }
}

/** A file whose body is on its way into frames of its own. */
interface OpenBody {
  member: PackMember
  file: ExactFile
  checksum: ReturnType<typeof createFileChecksum>
  verification: PageVerification | undefined
  offset: number
}

/** See the head of this file. */
export class ArchiveSource implements PartSource {
  readonly files: PackedFiles
  readonly vanished: number[] = []
  readonly pageErrors: PackResult['pageErrors'] = []
  readonly remarks: FileRemark[] = []
  tarBytes = 0
  storedBytes = 0
  readonly #sha256 = createHash('sha256')
  readonly #job: PackJob
  readonly #memory: FrameMemory
  readonly #context: JobContext
  readonly #compressor: FrameCompressor
  readonly #members: Iterator<PackMember>
  readonly #header = Buffer.alloc(BLOCK)
  #next: PackMember | undefined
  #body: OpenBody | undefined
  #padding = 0
  #ended = false
  #tail: Uint8Array | undefined

  constructor(job: PackJob, memory: FrameMemory, context: JobContext) {
    this.#job = job
    this.#memory = memory
    this.#context = context
    this.#compressor = new FrameCompressor({ level: job.compressionLevel })
    const files = job.members.length + (job.files?.rows.length ?? 0)
    this.files = new PackedFiles(files, checksumLength(job.checksumAlgorithm))
    this.#members = membersOf(job)
    this.#advance()
  }

  /** SHA-256 of all bytes given out, hex. */
  digest(): string {
    return this.#sha256.digest('hex')
  }

  async fill(buffer: Uint8Array): Promise<number> {
    let written = 0
    while (written < buffer.length) {
      const room = buffer.subarray(written)
      if (this.#compressor.open) {
        written += this.#compressor.drain(room)
      } else if (this.#tail) {
        const piece = this.#tail.subarray(0, room.length)
        room.set(piece)
        written += piece.length
        this.#tail = this.#tail.subarray(piece.length)
        if (this.#tail.length === 0) break
      } else {
        // sockets of parts in flight move only while this thread is not compressing
        await yieldToEventLoop()
        this.#context.signal.throwIfAborted()
        const bytes = await this.#fillFrame()
        if (bytes > 0) {
          this.#compressor.begin(this.#memory.bytes.subarray(0, bytes))
          this.tarBytes += bytes
          this.#context.addProgress(bytes)
        } else {
          this.#tail = seekTable(this.#compressor.frames)
        }
      }
    }
    this.#sha256.update(buffer.subarray(0, written))
    this.storedBytes += written
    return written
  }

  /** Closes what an archive that failed has left open. */
  close(): void {
    this.#body?.file.close()
    this.#body = undefined
  }

  #advance(): void {
    const next = this.#members.next()
    this.#next = next.done ? undefined : next.value
  }

  /** Fills the frame buffer from its start; returns the bytes, 0 after the end of the archive. */
  async #fillFrame(): Promise<number> {
    if (this.#body) return this.#fillOwnFrame(this.#body)
    const frame = this.#memory.bytes
    let at = 0
    const put = (bytes: Uint8Array): void => {
      frame.set(bytes, at)
      at += bytes.length
    }
    frame.fill(0, 0, this.#padding)
    at += this.#padding
    this.#padding = 0
    for (let next = this.#next; next; next = this.#next) {
      const inline = next.body
      const file = next.type === 'directory' || inline ? undefined : this.#open(next)
      const member = file && file.size !== next.size ? { ...next, size: file.size } : next
      if (file === undefined && member.type === 'file' && !inline) {
        this.vanished.push(member.index)
        this.#advance()
        continue
      }
      const made = headerOf(member, this.#header)
      const header = made instanceof Promise ? await made : made
      const own = member.size >= OWN_FRAMES_BYTES
      const needed = header.length + (own ? 0 : member.size + tarPadding(member.size))
      if (at + needed > FRAME_BYTES) {
        // the member begins the next frame, and is opened anew then: it may be gone by that time
        file?.close()
        return at
      }
      put(header)
      this.#advance()
      const offset = this.tarBytes + at
      if (file) {
        const body = this.#bodyOf(member, file, offset)
        this.#body = body
        if (own) return at
        const room = frame.subarray(at, at + member.size)
        if (this.#isOnePiece(body)) readPiece(body, room)
        else await this.#readPieces(body, room, at)
        this.#finish(body)
      } else if (inline) {
        put(inline)
        const checksum = createFileChecksum(this.#job.checksumAlgorithm)
        checksum.update(inline)
        this.files.add({ index: member.index, size: member.size, offset, checksum: checksum.digest(), padded: false })
      }
      if (file) at += member.size
      const padding = tarPadding(member.size)
      frame.fill(0, at, at + padding)
      at += padding
    }
    if (!this.#ended && at + TAR_END_BYTES <= FRAME_BYTES) {
      this.#ended = true
      put(new Uint8Array(TAR_END_BYTES))
    }
    return at
  }

  async #fillOwnFrame(body: OpenBody): Promise<number> {
    const bytes = Math.min(FRAME_BYTES, body.file.rest)
    await this.#readPieces(body, this.#memory.bytes.subarray(0, bytes), 0)
    if (body.file.rest === 0) {
      this.#finish(body)
      this.#padding = tarPadding(body.member.size)
    }
    return bytes
  }

  /** A small file that nothing limits or verifies is read without a promise: of a million such, those cost seconds. */
  #isOnePiece({ member, verification }: OpenBody): boolean {
    return !this.#context.reads && !verification && member.size <= SMALL_PIECE_BYTES
  }

  async #readPieces(body: OpenBody, room: Uint8Array, offset: number): Promise<void> {
    const { reads, signal } = this.#context
    const most = this.#job.smallReads ? SMALL_PIECE_BYTES : PIECE_BYTES
    let at = 0
    while (at < room.length) {
      const piece = room.subarray(at, at + (reads?.pieceBytes(most) ?? most))
      if (reads) await reads.take(piece.length, signal)
      const position = body.file.size - body.file.rest
      body.file.read(piece)
      const again = body.verification?.check(piece, offset + at, position, body.file)
      if (again) await again
      body.checksum.update(piece)
      at += piece.length
    }
  }

  #open(member: PackMember): ExactFile | undefined {
    const growTo = member.isConfiguration ? LARGEST_CONFIGURATION : 0
    return ExactFile.open(Buffer.from(`${this.#job.dataDirectory}/${member.path}`, 'latin1'), member.size, growTo)
  }

  #bodyOf(member: PackMember, file: ExactFile, offset: number): OpenBody {
    let verification
    const { pages } = this.#job
    if (pages && member.relationSegment !== undefined) {
      if (member.size % pages.blockSize === 0) {
        const firstBlock = member.relationSegment * pages.segmentBlocks
        const { blockSize } = pages
        verification = new PageVerification(this.#memory.checker(blockSize), {
          blockSize,
          firstBlock,
          path: member.path,
        })
      } else {
        // C8: the rest of a page cannot be judged
        this.remarks.push({
          path: member.path,
          remark: `size ${member.size} is no multiple of the block size; pages not verified`,
        })
      }
    }
    return { member, file, offset, verification, checksum: createFileChecksum(this.#job.checksumAlgorithm) }
  }

  #finish({ member, file, offset, verification, checksum }: OpenBody): void {
    file.close()
    this.#body = undefined
    this.files.add({
      index: member.index,
      size: member.size,
      offset,
      checksum: checksum.digest(),
      padded: file.padded,
    })
    if (file.padded && member.relationSegment === undefined) {
      this.remarks.push({ path: member.path, remark: 'shrank while it was read; the rest is zeros' }) // F3
    }
    if (verification?.errors) this.pageErrors.push(verification.errors)
  }
}

function headerOf(member: PackMember, room: Buffer): Buffer | Promise<Buffer> {
  const { path, type, size, mode, uid, gid, mtimeMs } = member
  return tarHeader({ name: Buffer.from(path, 'latin1'), type, size, mode, uid, gid, mtimeMs }, room)
}

/** Directories and what was read already, then the files, one object at a time. */
function* membersOf(job: PackJob): Generator<PackMember, void, undefined> {
  yield* job.members
  if (job.files) yield* filesOf(job.files)
}

function readPiece({ file, checksum }: OpenBody, room: Uint8Array): void {
  file.read(room)
  checksum.update(room)
}
