/**
 * Walks a data directory and its tablespaces, and says of each thing found whether it is part of a base backup.
 *
 * The rules are those of sendDir() in basebackup.c, except that nothing is dropped silently which somebody may miss:
 * what PostgreSQL passes over with a warning comes out as `skipped` with its reason. The directory changes meanwhile.
 * What vanishes was dropped, and what appears is replayed from WAL; neither is an error (W11). Everything else that
 * cannot be read is one, since a file left out unnoticed is a backup that does not restore.
 *
 * Names are bytes. They are read as latin1 text, one character a byte, which keeps any name whole and makes a directory
 * of a million files cost 40 MB while it is listed. Calls are synchronous, as a million small promises cost more than
 * the calls; control goes back to the event loop every few hundred entries.
 */
import { statSync, type Stats } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { ToolError } from '../errors.js'
import { bytes, hasVanished, linkTarget, list, lstat, realPath, typeOf } from './byte-paths.js'
import {
  excludedName,
  isContentsExcludedDirectory,
  parseRelationFileName,
  unloggedRelations,
  type RelationFile,
  type RelationFork,
} from './exclusions.js'

/** What the walk needs to know about the cluster. */
export interface WalkOptions {
  /** The data directory; may itself be reached through a symlink. */
  pgdata: string
  /** Major version of the server, 13 or higher. */
  major: number
  /** Catalog version number; with the major it names the cluster's own directory in a tablespace (T1). */
  catalogVersion: number
  /** The tablespaces that existed right after the backup began (S9), without pg_default and pg_global. */
  tablespaces: readonly { oid: number; location: string; inPlace: boolean }[]
  /** stats_temp_directory of PostgreSQL 13 and 14; left out when it lies in PGDATA (W2). */
  statsTempDirectory?: string | undefined
  /** After how many things looked at the event loop gets a turn. @default 256 */
  yieldEvery?: number | undefined
  signal?: AbortSignal | undefined
}

/** One thing found. */
export interface DataEntry {
  /**
   * `tablespace-link`: `pg_tblspc/<oid>`; mode and owner are those of the location (T11), `target` is the link's.
   * `skipped`: not part of the backup although its name does not say so; `reason` belongs in the report.
   */
  kind: 'file' | 'directory' | 'tablespace-link' | 'skipped'
  /** Relative to PGDATA, `pg_tblspc/<oid>/PG_…` in a tablespace. PGDATA itself is no entry. */
  path: Buffer
  /** Bytes at the time of the walk; 0 for anything but a file. */
  size: number
  /** Permission bits, without the file type. */
  mode: number
  uid: number
  gid: number
  mtimeMs: number
  /** Set for the files of relations, whose pages have checksums (C2). Temporary ones never come out. */
  relation?: { fork: RelationFork; segment: number; relfilenumber: number }
  reason?: string
  /** Where the link points, as its bytes. */
  target?: Buffer
}

/** A directory still to be listed. Paths are latin1 text. */
interface Pending {
  path: string
  source: string
  kind: 'top' | 'tablespace-version' | 'database' | 'global' | 'other'
}

/**
 * Entries of the data directory: tablespaces first, the top directory last (W12), each directory before what is in it.
 * `global/pg_control` comes like any file; the caller must read it after everything else (E7).
 *
 * @throws ToolError `file-system` naming what could not be read; `damaged` when there is no `global/pg_control` (W13)
 */
export async function* walkDataDirectory(options: WalkOptions): AsyncGenerator<DataEntry, void, undefined> {
  const { yieldEvery = 256, signal } = options
  let looked = 0
  for (const entry of new Walk(options).entries()) {
    if (++looked % yieldEvery === 0) {
      await setImmediate()
      signal?.throwIfAborted()
    }
    if (entry !== undefined) yield entry
  }
}

/** Yields undefined for what is left out, so that long stretches of it do not hold up the event loop. */
type Found = Generator<DataEntry | undefined, void, undefined>

class Walk {
  readonly #options: WalkOptions
  /** Real path of PGDATA. */
  readonly #root: string
  readonly #rootStats: Stats
  /** Name of the cluster's own directory in a tablespace. */
  readonly #versionDirectory: string
  /** Real locations of tablespaces: one nested in PGDATA is walked once, as a tablespace (W10). */
  readonly #locations = new Set<string>()
  readonly #statsTempDirectory: string | undefined
  #sawControlFile = false

  constructor(options: WalkOptions) {
    this.#options = options
    this.#versionDirectory = `PG_${options.major}_${options.catalogVersion}`
    const pgdata = Buffer.from(options.pgdata).toString('latin1')
    this.#root = realPath(pgdata)
    this.#rootStats = statSync(bytes(this.#root))
    if (options.statsTempDirectory !== undefined) {
      const path = Buffer.from(options.statsTempDirectory).toString('latin1').replace(/\/+$/, '')
      // Relative to PGDATA unless it begins with a slash; then maybe by another name of PGDATA.
      const inside = path.startsWith('/') ? path.slice(path.startsWith(`${pgdata}/`) ? pgdata.length + 1 : 0) : path
      this.#statsTempDirectory = inside.startsWith('/') ? inside : join(this.#root, inside.replace(/^\.\//, ''))
    }
  }

  *entries(): Found {
    yield* this.#tablespaces()
    yield* this.#tree({ path: '', source: this.#root, kind: 'top' })
    if (!this.#sawControlFile) {
      throw new ToolError('damaged', `"${this.#options.pgdata}" has no global/pg_control`, {
        hint: 'Without it this is not the data directory of a cluster.',
      })
    }
  }

  *#tablespaces(): Found {
    const source = `${this.#root}/pg_tblspc`
    const own = lstat(source)
    if (own === undefined) return
    yield this.#emptied('pg_tblspc', own)
    const known = new Set(this.#options.tablespaces.map(({ oid }) => String(oid)))
    for (const name of list(source)) {
      const path = `pg_tblspc/${name}`
      const stats = lstat(`${source}/${name}`)
      if (stats === undefined || excludedName(name, 'pg_tblspc') !== undefined) yield undefined
      else if (!/^[1-9][0-9]*$/.test(name)) {
        // The server ignores it too (T7), but whoever made it may not know.
        yield skipped(path, stats, 'its name is not the OID of a tablespace')
      } else if (!known.has(name)) {
        // Made after the backup began (S9): recovery makes it again, with all that is in it.
        yield skipped(path, stats, 'the tablespace was not there when the backup began')
      } else if (stats.isSymbolicLink()) yield* this.#linkedTablespace(path, `${source}/${name}`)
      else if (stats.isDirectory()) {
        // In-place tablespace (T5): a directory here, and a directory in the restored cluster.
        yield entryOf('directory', path, stats)
        yield* this.#versionTree(path, `${source}/${name}`, `${source}/${name}`)
      } else yield skipped(path, stats, `${typeOf(stats)} in place of a tablespace`)
    }
  }

  *#linkedTablespace(path: string, link: string): Found {
    const target = linkTarget(link)
    if (target === undefined) return
    let location: string
    let stats: Stats
    try {
      location = realPath(link)
      stats = statSync(bytes(location))
    } catch (error) {
      if (!hasVanished(error)) throw error
      return yield* this.#absent(path, link, `its location "${target.toString()}" does not exist`)
    }
    this.#locations.add(location)
    yield { ...entryOf('tablespace-link', path, stats), target }
    yield* this.#versionTree(path, link, location)
  }

  /** Only PG_<major>_<catalog version> is this cluster's; others may share the location (T1). */
  *#versionTree(path: string, link: string, location: string): Found {
    const source = `${location}/${this.#versionDirectory}`
    const stats = lstat(source)
    if (stats === undefined) {
      return yield* this.#absent(path, link, `its location has no directory "${this.#versionDirectory}"`)
    }
    const directory = `${path}/${this.#versionDirectory}`
    if (!stats.isDirectory()) {
      return yield skipped(directory, stats, `${typeOf(stats)} in place of a tablespace's directory`)
    }
    yield entryOf('directory', directory, stats)
    yield* this.#tree({ path: directory, source, kind: 'tablespace-version' })
  }

  /**
   * A tablespace without its files was dropped meanwhile (T8), and DROP TABLESPACE ends with its entry in pg_tblspc.
   * Where that stays, a file system may not be mounted, and whoever reads the report should know.
   */
  *#absent(path: string, link: string, reason: string): Found {
    const stats = lstat(link)
    yield stats === undefined ? undefined : skipped(path, stats, reason)
  }

  /** Everything below one directory. The stack holds directories only; one listing is in memory at a time. */
  *#tree(top: Pending): Found {
    const stack = [top]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const below: Pending[] = []
      yield* this.#directory(next, below)
      stack.push(...below.reverse())
    }
  }

  *#directory(directory: Pending, below: Pending[]): Found {
    const listedAt = Date.now()
    const names = list(directory.source, directory.path === '')
    const unlogged = directory.kind === 'database' ? unloggedRelations(names) : undefined
    for (const name of names) {
      if (excludedName(name, directory.path) !== undefined) {
        yield undefined
        continue
      }
      const source = `${directory.source}/${name}`
      const stats = lstat(source)
      if (stats === undefined) yield undefined
      else if (stats.isFile()) {
        const relation = isRelationDirectory(directory) ? parseRelationFileName(name) : undefined
        if (relation !== undefined && unlogged !== undefined) {
          const late = stats.ctimeMs > listedAt - LISTING_MARGIN_MS
          if (isLeftOut(relation, unlogged, late ? directory.source : undefined)) {
            yield undefined
            continue
          }
        }
        yield this.#file(join(directory.path, name), stats, relation)
      } else yield* this.#other(directory, name, source, stats, below)
    }
  }

  #file(path: string, stats: Stats, relation: RelationFile | undefined): DataEntry {
    if (path === 'global/pg_control') this.#sawControlFile = true
    const entry = entryOf('file', path, stats)
    entry.size = stats.size
    if (relation !== undefined && !relation.temporary) {
      const { fork, segment, relfilenumber } = relation
      entry.relation = { fork, segment, relfilenumber }
    }
    return entry
  }

  *#other(directory: Pending, name: string, source: string, stats: Stats, below: Pending[]): Found {
    const path = join(directory.path, name)
    const isDirectory = stats.isDirectory()
    if (isDirectory || stats.isSymbolicLink()) {
      if (path === 'pg_wal') return yield* this.#walDirectories(stats)
      if (path === 'pg_tblspc') return // came first, with its contents
      if (isContentsExcludedDirectory(path) || source === this.#statsTempDirectory) {
        return yield this.#emptied(path, stats)
      }
    }
    if (isDirectory) {
      if (this.#locations.has(source)) return
      yield entryOf('directory', path, stats)
      below.push({ path, source, kind: kindOf(directory, name) })
    } else if (stats.isSymbolicLink()) {
      // Neither followed nor restored: what lies outside PGDATA is not the cluster's to overwrite (W9, F6).
      const target = linkTarget(source)
      if (target === undefined) return
      const reason = `a symbolic link to "${target.toString()}", which base backups do not follow`
      yield { ...skipped(path, stats, reason), target }
    } else yield skipped(path, stats, `${typeOf(stats)}, not a file`)
  }

  /** pg_wal becomes an empty directory even where it is a link: the server demands it, and WAL comes from the archive. */
  *#walDirectories(stats: Stats): Found {
    const wal = this.#emptied('pg_wal', stats)
    yield wal
    const inside = this.#options.major >= 17 ? ['archive_status', 'summaries'] : ['archive_status']
    for (const name of inside) yield { ...wal, path: bytes(`pg_wal/${name}`) }
  }

  /** A directory kept without its contents. A link's own mode says nothing: PGDATA's does (convert_link_to_directory()). */
  #emptied(path: string, stats: Stats): DataEntry {
    const entry = entryOf('directory', path, stats)
    if (stats.isSymbolicLink()) entry.mode = this.#rootStats.mode & 0o7777
    return entry
  }
}

/**
 * A file that changed at most this long before its directory was listed may belong to a relation whose init fork was
 * made after the listing. Such files are looked at once more; a wrong guess only copies what recovery resets anyway.
 */
const LISTING_MARGIN_MS = 2000

/**
 * Temporary relations (W4), and all forks of unlogged ones but the init fork, from which recovery makes them anew (W3).
 * `listedIn` is where to look once more for an init fork that the listing did not have.
 */
function isLeftOut(relation: RelationFile, unlogged: Set<number>, listedIn: string | undefined): boolean {
  if (relation.temporary) return true
  if (relation.fork === 'init') return false
  if (!unlogged.has(relation.relfilenumber)) {
    if (listedIn === undefined || lstat(`${listedIn}/${relation.relfilenumber}_init`) === undefined) return false
    unlogged.add(relation.relfilenumber)
  }
  return true
}

/** Where relations live (W5). No temporary or unlogged ones are in global: its relations are shared catalogs. */
function isRelationDirectory(directory: Pending): boolean {
  return directory.kind === 'database' || directory.kind === 'global'
}

function kindOf(parent: Pending, name: string): Pending['kind'] {
  if (parent.kind === 'top' && name === 'global') return 'global'
  if ((parent.path === 'base' || parent.kind === 'tablespace-version') && /^[0-9]+$/.test(name)) return 'database'
  return 'other'
}

function entryOf(kind: DataEntry['kind'], path: string, stats: Stats): DataEntry {
  return {
    kind,
    path: bytes(path),
    size: 0,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtimeMs: stats.mtimeMs,
  }
}

function skipped(path: string, stats: Stats, reason: string): DataEntry {
  return { ...entryOf('skipped', path, stats), reason }
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
