/**
 * Judges the pages of one relation file while they pass: every page, whatever its LSN (C5).
 *
 * A wrong checksum is corruption only if the page stays the same: a page that the server is writing at this moment
 * reads differently the next time, and WAL replay puts it right. So pages are read again, after pauses long enough for
 * a descheduled writer, and the bytes that were judged last are the ones that are archived (C6).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { formatLsn } from '../postgres/lsn.js'
import { pageChecksum, pageLsn, storedChecksum, type PageChecker } from '../postgres/page-checksum.js'
import type { ExactFile } from '../streams/exact-length.js'
import type { PageErrors } from './jobs.js'

/** Pauses before each new look at pages that look corrupt. */
const PAUSES_MS = [100, 200, 400]
/** A file with that many corrupt pages is beyond doubt: further ones get one short pause only. */
const BEYOND_DOUBT = 256
const MOST_RANGES = 100

/** The pages of one file. */
export class PageVerification {
  readonly #checker: PageChecker
  readonly #blockSize: number
  readonly #firstBlock: number
  readonly #path: string
  #errors: PageErrors | undefined

  /** `firstBlock`: absolute number of the file's first block within its relation fork. */
  constructor(checker: PageChecker, options: { blockSize: number; firstBlock: number; path: string }) {
    this.#checker = checker
    this.#blockSize = options.blockSize
    this.#firstBlock = options.firstBlock
    this.#path = options.path
  }

  /** What was found corrupt so far. */
  get errors(): PageErrors | undefined {
    return this.#errors
  }

  /**
   * Checks whole pages at `offset` of the checker's memory (`bytes` is the same stretch), which were read from
   * `position` of the file. Undefined when all is well, so that the common case costs no promise.
   */
  check(bytes: Uint8Array, offset: number, position: number, file: ExactFile): Promise<void> | undefined {
    const pages = bytes.length / this.#blockSize
    const first = this.#checker.firstBadPage(offset, pages, this.#firstBlock + position / this.#blockSize)
    return first < 0 ? undefined : this.#lookAgain(bytes, offset, position, file)
  }

  async #lookAgain(bytes: Uint8Array, offset: number, position: number, file: ExactFile): Promise<void> {
    let suspects = this.#suspects(bytes, offset, position)
    const pauses = (this.#errors?.pages ?? 0) > BEYOND_DOUBT ? PAUSES_MS.slice(0, 1) : PAUSES_MS
    const again = Buffer.allocUnsafe(this.#blockSize)
    for (const pause of [0, ...pauses]) {
      if (pause > 0) await sleep(pause)
      suspects = suspects.filter((page) => {
        const before = bytes.subarray(page * this.#blockSize, (page + 1) * this.#blockSize)
        file.readAgain(again, position + page * this.#blockSize)
        const changed = !again.equals(before)
        before.set(again)
        return !changed
      })
      if (suspects.length === 0) return
    }
    for (const page of suspects)
      this.#record(
        bytes.subarray(page * this.#blockSize, (page + 1) * this.#blockSize),
        position / this.#blockSize + page,
      )
  }

  #suspects(bytes: Uint8Array, offset: number, position: number): number[] {
    const pages = bytes.length / this.#blockSize
    const suspects = []
    for (let page = 0; page < pages; page++) {
      const block = this.#firstBlock + position / this.#blockSize + page
      const bad = this.#checker.firstBadPage(offset + page * this.#blockSize, pages - page, block)
      if (bad < 0) break
      page += bad
      suspects.push(page)
    }
    return suspects
  }

  #record(page: Uint8Array, blockInFile: number): void {
    const block = this.#firstBlock + blockInFile
    const errors = (this.#errors ??= {
      path: this.#path,
      pages: 0,
      ranges: [],
      first: {
        block,
        stored: storedChecksum(page),
        computed: pageChecksum(page, block),
        lsn: formatLsn(pageLsn(page)),
      },
    })
    errors.pages++
    const last = errors.ranges.at(-1)
    if (last?.[1] === block - 1) last[1] = block
    else if (errors.ranges.length < MOST_RANGES) errors.ranges.push([block, block])
  }
}
