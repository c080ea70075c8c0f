/**
 * Notes of files that were stored ahead, in pg_wal/pgsluice/archived: the shell front answers the server from them (A10).
 *
 * A note holds what decided the repository, as the front put it, and the inode, size and time of the file, as "ls" prints
 * them: the front compares both as texts, and that the file is not newer than the note. So no note speaks for another file
 * or another repository, also not in a copy of the directory.
 */
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { systemErrorCode } from '../errors.js'

/** What is known of a file before it is read. */
export interface FileFacts {
  /** As "ls" prints it, blanks collapsed: what the front will compare. */
  line: string
  /** Tells whether it is still the same. */
  identity: string
}

/** See the head of this file. */
export class ArchivedNotes {
  readonly #place: string
  readonly #pgWal: string
  readonly #directory: string

  /** `pgWal` is the path under which the server names the directory. */
  constructor(place: string, pgWal: string) {
    this.#place = place
    this.#pgWal = pgWal
    this.#directory = join(pgWal, 'pgsluice', 'archived')
  }

  /** The facts of files in pg_wal by name; of one that is not there, none. */
  async facts(names: readonly string[]): Promise<Map<string, FileFacts>> {
    const identities = new Map<string, string>()
    for (const name of names) {
      const identity = await identityOf(join(this.#pgWal, name))
      if (identity !== undefined) identities.set(name, identity)
    }
    const facts = new Map<string, FileFacts>()
    if (identities.size === 0) return facts
    const paths = [...identities.keys()].map((name) => join(this.#pgWal, name))
    for (const line of (await listing(paths)).split('\n')) {
      const words = line.trim().split(/\s+/)
      const name = words.at(-1)?.slice(this.#pgWal.length + 1) ?? ''
      const identity = identities.get(name)
      if (identity !== undefined) facts.set(name, { line: words.join(' '), identity })
    }
    return facts
  }

  /** Whether a note says of this very file that it is stored. */
  async has(name: string, { line }: FileFacts): Promise<boolean> {
    const path = join(this.#directory, name)
    try {
      const [text, note, file] = await Promise.all([
        readFile(path, 'utf8'),
        stat(path, { bigint: true }),
        stat(join(this.#pgWal, name), { bigint: true }),
      ])
      return text === this.#text(line) && file.mtimeNs <= note.mtimeNs
    } catch (error) {
      if (systemErrorCode(error) === undefined) throw error
      return false
    }
  }

  /** Notes a file whose facts were taken before it was read; not where it is another one by now. */
  async write(name: string, { line, identity }: FileFacts): Promise<void> {
    if ((await identityOf(join(this.#pgWal, name))) !== identity) return
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const temporary = join(this.#directory, `.${name}.${process.pid}.tmp`)
    await writeFile(temporary, this.#text(line), { mode: 0o600 })
    await rename(temporary, join(this.#directory, name))
  }

  /** Removes notes of files that the server no longer asks for, and what writers left that were killed. */
  async sweep(ready: ReadonlySet<string>): Promise<void> {
    const names = await readdir(this.#directory).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT') return []
      throw error
    })
    for (const name of names) {
      if (!ready.has(name)) await rm(join(this.#directory, name), { recursive: true, force: true })
    }
  }

  #text(line: string): string {
    return `${this.#place}\n${line}\n`
  }
}

/** As the front does it. A file that is not there makes "ls" fail, and the others are still told. */
async function listing(paths: readonly string[]): Promise<string> {
  const script = 'LC_ALL=C; export LC_ALL; ls -dniL -- "$@" 2>/dev/null; :'
  const { stdout } = await promisify(execFile)('/bin/sh', ['-c', script, 'sh', ...paths], {
    maxBuffer: 16 * 1024 * 1024,
  })
  return stdout
}

async function identityOf(path: string): Promise<string | undefined> {
  try {
    const { ino, size, mtimeNs } = await stat(path, { bigint: true })
    return [ino, size, mtimeNs].join(' ')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  }
}
