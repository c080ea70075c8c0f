/**
 * Stores what else is ready, beside the file that the server asks for: the start of a run costs more than the storing of a
 * file, and the server asks for one file a run (A9, A10).
 *
 * Nothing here can fail the run: the answer to the server is about its file alone. What is not stored, or cannot be noted,
 * is stored when the server asks for it. Stored out of order, files leave holes for a while, which "wal fetch" tells from
 * the end of the archive (G2).
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../errors.js'
import { parseWalFileName, type WalFile } from '../postgres/wal-segment.js'
import { ArchivedNotes, type FileFacts } from './archived-notes.js'
import type { CommandContext } from './context.js'

/** The archiver waits for this run, and with it a server that shuts down. */
const LONGEST_MS = 20_000
const READY = '.ready'

/** What to look for. */
export interface AheadOptions {
  /** What decides the repository, as the front put it. */
  place: string
  /** The directory of the asked file, as the server names it. */
  pgWal: string
  /** Most files. */
  most: number
  /** Files in work at a time. */
  parallel: number
}

/** Files that are ready besides the one that was asked for. */
export class PushAhead {
  readonly #options: AheadOptions
  readonly #context: CommandContext
  readonly #notes: ArchivedNotes
  readonly #began = performance.now()
  #asked: { name: string; facts: FileFacts | undefined } | undefined
  #isOver = false

  constructor(options: AheadOptions, context: CommandContext) {
    this.#options = options
    this.#context = context
    this.#notes = new ArchivedNotes(options.place, options.pgWal)
  }

  /** Before the asked file is read. */
  async begin(name: string): Promise<void> {
    const facts = await this.#guarded(`note "${name}"`, () => this.#notes.facts([name]))
    this.#asked = { name, facts: facts?.get(name) }
  }

  /** When the asked file is stored: a server that crashes now asks for it once more (A8). */
  async noteAsked(): Promise<void> {
    const { name, facts } = this.#asked ?? {}
    if (name !== undefined && facts) await this.#guarded(`note "${name}"`, () => this.#notes.write(name, facts))
  }

  /**
   * Stores and notes file after file once `asked` is stored, in slot 0, which had it, and in the others. Resolves when none
   * is in work any more, and never rejects.
   */
  async run(
    asked: Promise<unknown>,
    push: (file: WalFile, path: string, slot: number) => Promise<unknown>,
  ): Promise<void> {
    const waiting = (await this.#guarded('look for files that are ready', () => this.#waiting())) ?? []
    await asked.catch(() => (this.#isOver = true))
    const work = async (slot: number): Promise<void> => {
      for (let next = this.#next(waiting); next; next = this.#next(waiting)) {
        const { file, facts } = next
        const isStored = await this.#guarded(`store "${file.name}" ahead`, async () => {
          await push(file, join(this.#options.pgWal, file.name), slot)
          await this.#notes.write(file.name, facts)
          return true
        })
        if (!isStored) this.#isOver = true
      }
    }
    await Promise.all(Array.from({ length: this.#options.parallel }, (_, slot) => work(slot)))
  }

  #next(waiting: { file: WalFile; facts: FileFacts }[]): { file: WalFile; facts: FileFacts } | undefined {
    const { signal } = this.#context
    if (this.#isOver || signal.aborted || performance.now() - this.#began > LONGEST_MS) return undefined
    return waiting.shift()
  }

  /** Histories first, then segments in their order (A9); what is noted already is done. */
  async #waiting(): Promise<{ file: WalFile; facts: FileFacts }[]> {
    const { pgWal, most } = this.#options
    const ready = (await readdir(join(pgWal, 'archive_status')))
      .filter((name) => name.endsWith(READY))
      .map((name) => name.slice(0, -READY.length))
    await this.#notes.sweep(new Set(ready))
    const files = ready
      .map(parseWalFileName)
      .filter((file) => file !== undefined)
      .filter(({ name }) => name !== this.#asked?.name)
      .sort((a, b) => Number(b.kind === 'history') - Number(a.kind === 'history') || (a.name < b.name ? -1 : 1))
      .slice(0, most)
    const facts = await this.#notes.facts(files.map(({ name }) => name))
    const waiting: { file: WalFile; facts: FileFacts }[] = []
    for (const file of files) {
      const known = facts.get(file.name)
      if (known && !(await this.#notes.has(file.name, known))) waiting.push({ file, facts: known })
    }
    return waiting
  }

  async #guarded<T>(what: string, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action()
    } catch (error) {
      if (!this.#context.signal.aborted)
        this.#context.report({ type: 'warning', message: `could not ${what}: ${reasonOf(error)}` })
      return undefined
    }
  }
}
