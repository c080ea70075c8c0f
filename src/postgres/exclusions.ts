/**
 * What a base backup leaves out, with one reason an entry.
 *
 * The rules are those of basebackup.c (sendDir(), excludeFiles, excludeDirContents), which match base names at any
 * depth, and a few more for files in the top directory that would change what a restored cluster does (W1, W2, W6).
 * Everything here is pure. Names are compared as latin1 text, one character a byte: all patterns are ASCII.
 */

interface Exclusion {
  /** The whole name, or with `prefix` its beginning. */
  name: string
  prefix?: boolean
  /** Matches in the top directory only. The others match at any depth, as in basebackup.c. */
  top?: boolean
  /** Why it is safe, or necessary, to leave it out. */
  reason: string
}

/** The files, W1 in its order, then W6. */
const EXCLUDED_FILES: readonly Exclusion[] = [
  { name: 'pgsql_tmp', prefix: true, reason: 'temporary files, removed when the server starts' },
  { name: '.DS_Store', reason: 'written by the macOS Finder' },
  { name: 'postgresql.auto.conf.tmp', reason: 'an unfinished ALTER SYSTEM' },
  { name: 'current_logfiles.tmp', reason: 'an unfinished list of log files' },
  { name: 'backup_label', reason: 'of another backup; this one gets its own' },
  { name: 'tablespace_map', reason: 'of another backup; this one gets its own' },
  { name: 'backup_manifest', reason: 'of the backup this cluster was restored from' },
  { name: 'postmaster.pid', reason: 'of the running server' },
  { name: 'postmaster.opts', reason: 'of the running server' },
  { name: 'pg_internal.init', prefix: true, reason: 'a cache, rebuilt when the server starts' },
  // The restore decides what kind of recovery begins (R13); a stray one would decide for it.
  { name: 'recovery.signal', top: true, reason: 'would start a recovery that nobody asked for' },
  { name: 'standby.signal', top: true, reason: 'would make the restored cluster a standby' },
  { name: 'backup_label.old', top: true, reason: 'left over from the backup this cluster was restored from' },
  { name: 'tablespace_map.old', top: true, reason: 'left over from the backup this cluster was restored from' },
  { name: 'backup_manifest.tmp', top: true, reason: 'an unfinished manifest of another backup' },
  { name: 'recovery.conf', top: true, reason: 'of before version 12; a server that finds it refuses to start' },
  { name: 'recovery.done', top: true, reason: 'of before version 12; nothing reads it' },
  { name: 'promote', top: true, reason: 'a signal to the running server, removed when it starts' },
  { name: 'logrotate', top: true, reason: 'a signal to the running server' },
]

/** A crash dump, alone or with a process id. Nothing wider: `core.conf` may be somebody's configuration. */
const CORE_FILE = /^core(\.[0-9]+)?$/

/** The directories whose contents stay out while they themselves are kept, with their mode (W2). */
const EMPTIED_DIRECTORIES: ReadonlyMap<string, string> = new Map([
  ['pg_stat_tmp', 'temporary statistics'],
  ['pg_replslot', 'replication slots: a restored cluster must not hold back WAL for another cluster’s consumers'],
  ['pg_dynshmem', 'removed when the server starts (dsm_cleanup_for_mmap())'],
  ['pg_notify', 'removed when the server starts (AsyncShmemInit())'],
  ['pg_serial', 'not needed after a restart (SerialInit())'],
  ['pg_snapshots', 'removed when the server starts (DeleteAllExportedSnapshotFiles())'],
  ['pg_subtrans', 'zeroed when the server starts (StartupSUBTRANS())'],
])

/**
 * Why the file or directory `name` is not part of a base backup, or undefined when it is.
 *
 * @param directory where it lies, relative to PGDATA and without slashes at its ends; empty for the top directory
 */
export function excludedName(name: string, directory = ''): string | undefined {
  const top = directory === ''
  for (const exclusion of EXCLUDED_FILES) {
    if (exclusion.top === true && !top) continue
    if (exclusion.prefix === true ? name.startsWith(exclusion.name) : name === exclusion.name) return exclusion.reason
  }
  return top && CORE_FILE.test(name) ? 'a crash dump' : undefined
}

/** Whether a directory, by its base name as in sendDir(), is kept without its contents (W2). pg_wal is not one of them. */
export function isContentsExcludedDirectory(relativePath: string): boolean {
  return EMPTIED_DIRECTORIES.has(relativePath.slice(relativePath.lastIndexOf('/') + 1))
}

/** The forks of a relation. */
export type RelationFork = 'main' | 'fsm' | 'vm' | 'init'

/** What the name of a relation's file says. */
export interface RelationFile {
  relfilenumber: number
  fork: RelationFork
  /** Which segment of the fork, 0 for the first. */
  segment: number
  /** Belongs to a temporary table of one session. */
  temporary: boolean
}

/** The grammar of parse_filename_for_nontemp_relation() and looks_like_temp_rel_name(), in PostgreSQL 17's form (W5). */
const RELATION_FILE = /^(t[0-9]+_)?([1-9][0-9]{0,9})(?:_(fsm|vm|init))?(?:\.([1-9][0-9]*))?$/

const LARGEST_RELFILENUMBER = 0xffff_ffff

/** The parts of the name of a relation's file, or undefined when it is not such a name (W3–W5). */
export function parseRelationFileName(name: string): RelationFile | undefined {
  const match = RELATION_FILE.exec(name)
  if (match === null) return undefined
  const relfilenumber = Number(match[2])
  const segment = Number(match[4] ?? 0)
  if (relfilenumber > LARGEST_RELFILENUMBER || segment > LARGEST_RELFILENUMBER) return undefined
  return {
    relfilenumber,
    fork: (match[3] as RelationFork | undefined) ?? 'main',
    segment,
    temporary: match[1] !== undefined,
  }
}

/** Relfilenumbers of the relations in a listing that have an init fork: the unlogged ones (W3). */
export function unloggedRelations(names: readonly string[]): Set<number> {
  const unlogged = new Set<number>()
  for (const name of names) {
    if (!name.includes('_init')) continue
    const relation = parseRelationFileName(name)
    if (relation?.fork === 'init' && !relation.temporary) unlogged.add(relation.relfilenumber)
  }
  return unlogged
}
