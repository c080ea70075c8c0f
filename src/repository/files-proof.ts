/** The structure of `files.jsonl.zst`: what a restore relies on, proven line by line. */
import { ToolError } from '../errors.js'
import type { BackupRecord } from './backup-record.js'
import { PlacedDamage } from './fault-list.js'
import { pathOfLine, type FileLine, type IndexLine } from './files-index.js'
import type { ManifestFact } from './manifest-proof.js'
import type { ObjectLine } from './objects-index.js'

/** What the index is found to say. */
export interface FilesFacts {
  files: number
  bytes: number
  /** Numbers of the archives, in the order of the index. */
  archives: number[]
  /** Of global/pg_control, which is alone in its archive. */
  control: FileLine
}

const ARCHIVE = /^(\d{5,})\.tar\.zst$/

/** Takes the lines of one index. Everything throws ToolError `damaged`. */
export class FilesProof {
  readonly #record: BackupRecord
  /** Members that each archive must have; undefined where the index of objects is damaged. */
  readonly #members: Map<number, number> | undefined
  readonly #archives = new Map<number, number>()
  #lines = 0
  #bytes = 0
  #files = 0
  #end = 0
  #archive = -1
  #controls: FileLine[] = []
  #tablespaces = 0

  constructor(record: BackupRecord, objects: readonly ObjectLine[] | undefined) {
    this.#record = record
    this.#members =
      objects &&
      new Map(
        objects.flatMap(({ name, members }) => {
          const number = ARCHIVE.exec(name)?.[1]
          return number === undefined ? [] : [[Number(number), members ?? -1] as const]
        }),
      )
  }

  /** Proves a line; what the manifest must say of it, where it is a file. */
  take(number: number, line: Record<string, unknown>): ManifestFact | undefined {
    this.#lines++
    const one = line as unknown as IndexLine
    const path = pathOfLine(one)
    const wrong = (problem: string): never => {
      throw new PlacedDamage(`line ${number}`, problem)
    }
    if (path.includes(0) || path.toString('latin1').split('/').some(isOdd))
      wrong(`its path ${JSON.stringify(path.toString())} is not inside the data directory`)
    if (one.type === 'tablespace') {
      this.#tablespaces++
      const { oid, location } = one
      if (path.toString() !== `pg_tblspc/${oid}`) wrong(`it has tablespace ${oid} at "${path.toString()}"`)
      if (!this.#record.tablespaces.some((known) => known.oid === oid && known.location === location))
        wrong(`the record has no tablespace ${oid} at "${location}"`)
    }
    if (one.type !== 'file') return undefined
    this.#file(one, path.toString('latin1'), wrong)
    return { path, size: one.size, checksum: one.checksum }
  }

  /** Proves the whole. */
  end(): FilesFacts {
    const { files, tablespaces } = this.#record
    if (this.#lines !== files.count)
      throw new ToolError('damaged', `it has ${this.#lines} lines, the record ${files.count}`)
    if (this.#tablespaces !== tablespaces.length)
      throw new ToolError('damaged', `it has ${this.#tablespaces} tablespaces, the record ${tablespaces.length}`)
    const [control] = this.#controls
    if (!control || this.#controls.length > 1)
      throw new ToolError('damaged', `it has global/pg_control ${this.#controls.length} times`)
    if (this.#archives.get(control.archive) !== 1)
      throw new ToolError('damaged', 'it has other files in the archive of global/pg_control')
    for (const [archive, members] of this.#members ?? []) {
      const found = this.#archives.get(archive) ?? 0
      // directories of the first archive are no files; an archive of directories alone has no line here
      if (members >= 0 && found !== members)
        throw new ToolError('damaged', `it has ${found} files of archive ${archive}, the index of objects ${members}`)
    }
    return { files: this.#files, bytes: this.#bytes, archives: [...this.#archives.keys()], control }
  }

  #file(line: FileLine, path: string, wrong: (problem: string) => never): void {
    const { archive, offset, size } = line
    if (![archive, offset, size].every((value) => Number.isSafeInteger(value) && value >= 0))
      wrong('its numbers are no numbers')
    if (this.#members && !this.#members.has(archive)) wrong(`the backup has no archive ${archive}`)
    if (archive !== this.#archive) {
      if (this.#archives.has(archive)) wrong(`the files of archive ${archive} do not stand together`)
      this.#archive = archive
      this.#end = 0
    }
    if (offset < this.#end + 512) wrong('its offset lies inside another file')
    this.#end = offset + size
    this.#archives.set(archive, (this.#archives.get(archive) ?? 0) + 1)
    this.#files++
    this.#bytes += size
    if (path === 'global/pg_control') this.#controls.push(line)
  }
}

function isOdd(part: string): boolean {
  return part === '' || part === '.' || part === '..'
}
