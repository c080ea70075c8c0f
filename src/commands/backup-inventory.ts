/** What is to be copied: the walk of the data directory and its tablespaces, in one compact table. */
import { isUtf8 } from 'node:buffer'
import { FileTable } from '../archive/file-table.js'
import { ToolError } from '../errors.js'
import { checksumLength, type ChecksumAlgorithm } from '../postgres/checksum.js'
import { walkDataDirectory, type DataEntry } from '../postgres/data-directory.js'
import type { Tablespace } from '../postgres/session/cluster.js'
import type { BackupSource } from './backup-source.js'
import type { CommandContext } from './context.js'

/** Everything the walk found. */
export interface Inventory {
  files: FileTable
  /** Parents before children; small beside the files. */
  directories: DataEntry[]
  tablespaces: DataEntry[]
  skipped: { path: Buffer; reason: string }[]
  totalBytes: number
}

/** Path of the file that is read after every other (W12). */
export const PG_CONTROL = 'global/pg_control'
const PG_CONTROL_BYTES = Buffer.from(PG_CONTROL)

/** Walks PGDATA and the tablespaces. */
export async function takeInventory(
  source: BackupSource,
  tablespaces: readonly Tablespace[],
  checksum: ChecksumAlgorithm,
  context: CommandContext,
): Promise<Inventory> {
  const { server, dataDirectory } = source
  const inventory: Inventory = {
    files: new FileTable(checksumLength(checksum)),
    directories: [],
    tablespaces: [],
    skipped: [],
    totalBytes: 0,
  }
  const entries = walkDataDirectory({
    pgdata: dataDirectory,
    major: server.major,
    catalogVersion: server.catalogVersion,
    tablespaces: tablespaces.map(({ oid, location }) => ({ oid, location, inPlace: !location.startsWith('/') })),
    statsTempDirectory: server.statsTempDirectory,
    signal: context.signal,
  })
  for await (const entry of entries) {
    checkEntry(entry)
    if (entry.kind === 'skipped') {
      const reason = entry.reason ?? 'it is no regular file'
      inventory.skipped.push({ path: entry.path, reason })
      context.report({ type: 'warning', message: `"${entry.path.toString()}" is not part of the backup: ${reason}` })
    } else if (entry.kind === 'tablespace-link' || isInPlaceTablespace(entry)) {
      inventory.tablespaces.push(kept(entry))
    } else if (entry.kind === 'directory') {
      inventory.directories.push(kept(entry))
    } else if (!entry.path.equals(PG_CONTROL_BYTES)) {
      const { path, size, mode, uid, gid, mtimeMs, relation } = entry
      inventory.files.add({ path, size, mode, uid, gid, mtimeMs, relationSegment: relation?.segment })
      inventory.totalBytes += entry.size
    }
  }
  return inventory
}

/** With bytes of its own: its path is a part of a pool of 8 KiB, which would stay for each of many directories. */
function kept(entry: DataEntry): DataEntry {
  const path = Buffer.allocUnsafeSlow(entry.path.length)
  entry.path.copy(path)
  return { ...entry, path }
}

/** What holds the cluster's own data: a link there would leave a database or the commit log out of the backup (F6). */
const CORE = /^(base|global|pg_xact|pg_multixact|pg_commit_ts|pg_twophase|pg_logical)(\/|$)|^pg_tblspc\/\d+\/PG_/

/** Throws ToolError `refused` for what would make a backup that cannot be restored, before anything is copied. */
function checkEntry({ kind, path, target }: DataEntry): void {
  const name = path.toString()
  if (kind === 'skipped' && target !== undefined && CORE.test(path.toString('latin1'))) {
    throw new ToolError(
      'refused',
      `"${name}" is a symbolic link to "${target.toString()}", and backups do not follow those`,
      {
        hint: 'Move it back into the data directory, or make a tablespace for it.',
      },
    )
  }
  if (kind === 'tablespace-link' && target !== undefined && !isUtf8(target)) {
    throw new ToolError('refused', `the location of tablespace "${name}" is not UTF-8, which is not supported`)
  }
}

/** A directory where others have a link (T5): the walk yields no other of that name. */
function isInPlaceTablespace({ kind, path }: DataEntry): boolean {
  return kind === 'directory' && /^pg_tblspc\/[1-9][0-9]*$/.test(path.toString('latin1'))
}
