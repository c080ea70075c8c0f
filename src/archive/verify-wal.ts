/**
 * Job: WAL files are read back whole, each compared with what its head says, what its name says, and with the pages of
 * WAL in it (V1): nothing of it goes through the reader that serves recovery (V3).
 */
import { createHash } from 'node:crypto'
import { NotFoundError, reasonOf, ToolError } from '../errors.js'
import { parseTimelineHistory } from '../postgres/timeline.js'
import { parseWalPageHeader, segmentProblem, WAL_LONG_HEADER_SIZE } from '../postgres/wal-page-header.js'
import { parseWalFileName, type WalFile } from '../postgres/wal-segment.js'
import { walKey } from '../repository/layout.js'
import { lettingGo } from '../streams/let-go.js'
import type { Storage } from '../storage/storage.js'
import { FrameReader } from '../streams/frame-reader.js'
import type { FoundFault, JobContext, VerifyResult, VerifyWalJob } from './jobs.js'

const HEAD_MAGIC = 0x184d2a50
/** A history file of thousands of timelines is smaller. */
const MOST_HISTORY_BYTES = 16 * 1024 * 1024

/** Reads the files one after the other. Rejects only where it could not look. */
export async function verifyWal(job: VerifyWalJob, storage: Storage, context: JobContext): Promise<VerifyResult> {
  const faults: FoundFault[] = []
  let bytes = 0
  for (const name of job.names) {
    context.signal.throwIfAborted()
    const file = parseWalFileName(name)
    if (!file) throw new Error(`"${name}" is no WAL file`)
    const key = walKey(job.cluster.name, file)
    const reader = new FrameReader()
    const contents = new WalContents(file, job)
    try {
      const body = await storage.get(key, { signal: context.signal })
      try {
        for await (const piece of reader.read(lettingGo(body))) contents.take(piece)
      } finally {
        body.destroy()
      }
      const found = contents.problem(reader)
      if (found) faults.push({ key, ...found })
    } catch (error) {
      context.signal.throwIfAborted()
      if (error instanceof NotFoundError) faults.push({ key, problem: 'it is missing' })
      else if (error instanceof ToolError && error.code === 'damaged')
        faults.push({ key, place: reader.place, problem: error.message })
      else throw error
    }
    bytes += reader.consumed
    context.addProgress(reader.consumed)
  }
  return { kind: 'verified', key: undefined, faults, bytes }
}

/** What is known of a file when all of it has passed. */
class WalContents {
  readonly #file: WalFile
  readonly #job: VerifyWalJob
  readonly #hash = createHash('sha256')
  readonly #history: Buffer[] = []
  #size = 0
  #first: Buffer = Buffer.alloc(0)
  #pages: PageChain | undefined

  constructor(file: WalFile, job: VerifyWalJob) {
    this.#file = file
    this.#job = job
  }

  take(piece: Buffer): void {
    this.#hash.update(piece)
    if (this.#file.kind === 'history') {
      if (this.#size < MOST_HISTORY_BYTES) this.#history.push(piece)
    } else {
      if (this.#size === 0) {
        this.#first = piece.subarray(0, WAL_LONG_HEADER_SIZE)
        this.#pages = PageChain.of(this.#first)
      }
      this.#pages?.take(piece)
    }
    this.#size += piece.length
  }

  problem({ skippable }: FrameReader): { place?: string; problem: string } | undefined {
    const [head] = skippable
    if (head?.offset !== 0 || head.bytes.readUInt32LE(0) !== HEAD_MAGIC)
      return { place: 'byte 0', problem: 'it does not begin with the head of a WAL object' }
    if (skippable.length > 1)
      return { place: `byte ${skippable[1]?.offset ?? 0}`, problem: 'something stands behind its contents' }
    let said: { name: unknown; size: unknown; sha256: unknown }
    try {
      said = JSON.parse(head.bytes.toString('utf8', 8)) as typeof said
    } catch (error) {
      return { place: 'head, byte 8', problem: `its head cannot be read: ${reasonOf(error)}` }
    }
    if (said.name !== this.#file.name)
      return { place: 'head, byte 8', problem: `it holds ${JSON.stringify(said.name)}` }
    if (said.size !== this.#size)
      return {
        place: 'head, byte 8',
        problem: `it holds ${this.#size} bytes, its head says ${JSON.stringify(said.size)}`,
      }
    if (said.sha256 !== this.#hash.digest('hex'))
      return { place: 'head, byte 8', problem: 'the SHA-256 of its contents is not what its head says' }
    return this.#file.kind === 'history' ? this.#historyProblem(this.#file.timeline) : this.#segmentProblem()
  }

  #historyProblem(timeline: number): { problem: string } | undefined {
    try {
      parseTimelineHistory(Buffer.concat(this.#history).toString('utf8'), timeline)
      return undefined
    } catch (error) {
      return { problem: reasonOf(error) }
    }
  }

  #segmentProblem(): { place: string; problem: string } | undefined {
    const { systemIdentifier, walSegmentSize } = this.#job.cluster
    const problem = segmentProblem(this.#first, {
      name: this.#file.name,
      size: this.#size,
      systemIdentifier: BigInt(systemIdentifier),
      walSegmentSize,
    })
    return problem === undefined ? this.#pages?.problem : { place: 'WAL page 1, byte 0', problem }
  }
}

/**
 * The headers of the pages within a segment: each names its own address, and none goes back to an older timeline. Where WAL
 * ends inside the segment, what follows is zeros or what was there before; that is no fault unless the chain goes on behind.
 */
class PageChain {
  problem: { place: string; problem: string } | undefined
  readonly #blockSize: number
  readonly #start: bigint
  readonly #magic: number
  #timeline: number
  #position = 0
  #header: Buffer = Buffer.alloc(0)
  #hole: { page: number; problem: string } | undefined

  static of(first: Buffer): PageChain | undefined {
    const header = parseWalPageHeader(first)
    if (!header || header.blockSize < 1024 || header.blockSize > 65536) return undefined
    return new PageChain(header)
  }

  private constructor({ blockSize, pageAddress, magic, timeline }: NonNullable<ReturnType<typeof parseWalPageHeader>>) {
    this.#blockSize = blockSize
    this.#start = pageAddress
    this.#magic = magic
    this.#timeline = timeline
  }

  take(piece: Buffer): void {
    for (let at = 0; at < piece.length;) {
      const inPage = this.#position % this.#blockSize
      // magic, flags, timeline, address: the first 16 bytes of a page
      const rest = inPage < 16 ? 16 - inPage : this.#blockSize - inPage
      const part = piece.subarray(at, at + rest)
      if (inPage < 16) this.#header = Buffer.concat([this.#header, part])
      at += part.length
      this.#position += part.length
      if (this.#header.length === 16) {
        this.#judge(this.#header, (this.#position - 16) / this.#blockSize)
        this.#header = Buffer.alloc(0)
      }
    }
  }

  #judge(header: Buffer, page: number): void {
    const address = this.#start + BigInt(page * this.#blockSize)
    const timeline = header.readUInt32LE(4)
    const isInChain = header.readUInt16LE(0) === this.#magic && header.readBigUInt64LE(8) === address
    if (!isInChain) this.#hole ??= { page, problem: 'a page of WAL does not carry its own address' }
    else if (this.#hole) this.#fault(this.#hole.page, this.#hole.problem)
    else if (timeline < this.#timeline)
      this.#fault(page, `a page of timeline ${timeline} follows one of ${this.#timeline}`)
    else this.#timeline = timeline
  }

  #fault(page: number, problem: string): void {
    this.problem ??= { place: `WAL page ${page + 1}, byte ${page * this.#blockSize}`, problem }
  }
}
