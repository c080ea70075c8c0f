/**
 * Page checksums of the stored bytes of one relation file (V1). Pages that the backup itself found corrupt are known, and
 * those with an LSN from the backup's start on may have been written while they were read: WAL replay makes them anew (C4).
 */
import { parseRelationFileName } from '../postgres/exclusions.js'
import { formatLsn, parseLsn, type Lsn } from '../postgres/lsn.js'
import {
  createPageChecker,
  pageChecksum,
  pageLsn,
  storedChecksum,
  type PageChecker,
} from '../postgres/page-checksum.js'
import type { ExpectedFile, VerifyJob } from './jobs.js'

const WASM_PAGE = 65536
/** The backup lists this many runs of corrupt pages at most; only their number tells of the others. */
const LISTED_RUNS = 100
const RELATION = /^(?:global|base\/\d+|pg_tblspc\/\d+\/PG_[^/]+\/\d+)\/([^/]+)$/

let shared: { blockSize: number; memory: Uint8Array; checker: PageChecker } | undefined

/** A checker in one WebAssembly page of this thread, which takes two pages of the largest size. */
function checkerFor(blockSize: number): { memory: Uint8Array; checker: PageChecker } {
  if (shared?.blockSize !== blockSize) {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
    const bytes = new Uint8Array(memory.buffer, 0, WASM_PAGE)
    shared = { blockSize, memory: bytes, checker: createPageChecker(memory, blockSize) }
  }
  return shared
}

/** Judges the pages of a file as they pass. */
export class PageCheck {
  readonly #blockSize: number
  readonly #startLsn: Lsn
  readonly #first: number
  readonly #known: VerifyJob['knownPageErrors'][number] | undefined
  readonly #checker: PageChecker
  readonly #memory: Uint8Array
  #filled = 0
  #block = 0
  #unlisted = 0
  #knownSeen = 0
  #found: { place: string; problem: string } | undefined

  /** Undefined for what is no relation file, and for one whose size is no multiple of a page (C2, C8). */
  static of(file: ExpectedFile, job: VerifyJob): PageCheck | undefined {
    if (!job.pages || file.size % job.pages.blockSize !== 0) return undefined
    const relation = parseRelationFileName(RELATION.exec(file.path)?.[1] ?? '')
    return relation && !relation.temporary ? new PageCheck(file, relation.segment, job, job.pages) : undefined
  }

  private constructor(file: ExpectedFile, segment: number, job: VerifyJob, pages: NonNullable<VerifyJob['pages']>) {
    this.#blockSize = pages.blockSize
    this.#startLsn = parseLsn(pages.startLsn)
    this.#first = segment * pages.segmentBlocks
    const path = Buffer.from(file.path, 'latin1').toString()
    this.#known = job.knownPageErrors.find((errors) => errors.path === path)
    const { memory, checker } = checkerFor(pages.blockSize)
    this.#checker = checker
    this.#memory = memory.subarray(0, memory.length - (memory.length % pages.blockSize))
  }

  take(piece: Uint8Array): void {
    for (let at = 0; at < piece.length;) {
      const part = piece.subarray(at, at + this.#memory.length - this.#filled)
      this.#memory.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === this.#memory.length) this.#judge()
    }
  }

  /** What is wrong, after the last piece. */
  problem(): { place: string; problem: string } | undefined {
    this.#judge()
    return this.#found
  }

  /** The memory is this thread's, and holds a part of one file only between two calls for it: files come one by one. */
  #judge(): void {
    const pages = Math.floor(this.#filled / this.#blockSize)
    for (let page = 0; page < pages; page++) {
      const bad = this.#checker.firstBadPage(page * this.#blockSize, pages - page, this.#first + this.#block + page)
      if (bad < 0) break
      page += bad
      this.#bad(this.#memory.subarray(page * this.#blockSize, (page + 1) * this.#blockSize), this.#block + page)
    }
    this.#block += pages
    this.#filled = 0
  }

  #bad(page: Uint8Array, blockInFile: number): void {
    const block = this.#first + blockInFile
    if (this.#isKnown(block)) return
    const lsn = pageLsn(page)
    if (lsn >= this.#startLsn) return
    const computed = pageChecksum(page, block)
    this.#found ??= {
      place: `block ${block}, byte ${blockInFile * this.#blockSize}`,
      problem: `the checksum of a page is ${storedChecksum(page)} instead of ${computed}, LSN ${formatLsn(lsn)}, and the backup did not note it`,
    }
  }

  #isKnown(block: number): boolean {
    const known = this.#known
    if (!known) return false
    if (known.ranges.some(([from, to]) => from <= block && block <= to)) {
      this.#knownSeen++
      return true
    }
    const isCut = known.ranges.length >= LISTED_RUNS
    return isCut && ++this.#unlisted + this.#knownSeen <= known.pages
  }
}
