/** What is backed up: the server and its data directory, checked against each other before anything is copied. */
import { realpath } from 'node:fs/promises'
import { reasonOf, ToolError } from '../errors.js'
import { readControlFile, type ControlFile } from '../postgres/control-file.js'
import { checkServerVersion, readServer, type ServerInfo } from '../postgres/session/cluster.js'
import type { Session } from '../postgres/session/connection.js'
import { checkBackupPrivileges } from '../postgres/session/privileges.js'
import type { Settings } from '../config/settings.js'

/** A server that can be backed up. */
export interface BackupSource {
  server: ServerInfo
  /** Real path of PGDATA. */
  dataDirectory: string
  control: ControlFile
}

/** Reads the server and its data directory; throws ToolError where no backup could be taken from it (P8, P9, P10). */
export async function findBackupSource(session: Session, settings: Settings): Promise<BackupSource> {
  const server = await readServer(session)
  checkServerVersion(server)
  if (server.inRecovery) {
    throw new ToolError('refused', 'the server is in recovery: backups from a standby are not supported yet', {
      hint: 'Run the backup on the primary.',
    })
  }
  await checkBackupPrivileges(session)
  for (const problem of archivingProblems(server)) throw problem
  return { server, ...(await openDataDirectory(server, settings)) }
}

/** The data directory that the settings or the server name, once it was read and found to be that server's (P7, P8). */
export async function openDataDirectory(
  server: ServerInfo,
  settings: Settings,
): Promise<Pick<BackupSource, 'dataDirectory' | 'control'>> {
  const dataDirectory = await findDataDirectory(server, settings)
  const { control } = await readControlFile(dataDirectory)
  if (control.systemIdentifier === server.systemIdentifier) return { dataDirectory, control }
  throw new ToolError(
    'refused',
    `"${dataDirectory}" belongs to another cluster (system identifier ${control.systemIdentifier}) than the server (${server.systemIdentifier})`,
    { hint: 'Point --pgdata to the data directory of the server that --dbname names.' },
  )
}

/** What stands in the way of archiving, each with what to change (P9). */
export function archivingProblems(server: ServerInfo): ToolError[] {
  const problems: ToolError[] = []
  if (server.walLevel !== 'replica' && server.walLevel !== 'logical') {
    problems.push(
      new ToolError('refused', `wal_level is "${server.walLevel}"`, {
        hint: "Set wal_level = 'replica' in postgresql.conf and restart the server.",
      }),
    )
  }
  if (server.archiveMode === 'off') {
    problems.push(
      new ToolError('refused', 'archive_mode is off: a backup without its WAL cannot be restored', {
        hint: `Set archive_mode = on and archive_command = 'pgsluice-wal push "%p"' in postgresql.conf and restart the server.`,
      }),
    )
  } else if (server.archiveCommand === '' && (server.archiveLibrary ?? '') === '') {
    problems.push(
      new ToolError('refused', 'archive_command is empty: no WAL is archived', {
        hint: `Set archive_command = 'pgsluice-wal push "%p"' in postgresql.conf and reload the server.`,
      }),
    )
  }
  return problems
}

/** Real path of the data directory that the settings or the server name; refuses one that is not the server's (P8). */
async function findDataDirectory(server: ServerInfo, settings: Settings): Promise<string> {
  const named = settings.pgdata
  if (named === undefined && server.dataDirectory === undefined) {
    throw new ToolError('database', 'the role may not see data_directory', {
      hint: 'Grant pg_read_all_settings to it, or name the directory with --pgdata.',
    })
  }
  const ours = await realPath(named ?? server.dataDirectory ?? '')
  if (named !== undefined && server.dataDirectory !== undefined) {
    const theirs = await realPath(server.dataDirectory)
    if (ours !== theirs) {
      throw new ToolError('refused', `the data directory of the server is "${theirs}", not "${ours}"`, {
        hint: 'Leave --pgdata (and PGDATA) away, or connect to the other server.',
      })
    }
  }
  return ours
}

async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path)
  } catch (cause) {
    throw new ToolError('file-system', `could not read the data directory "${path}": ${reasonOf(cause)}`, {
      cause,
      hint: 'Run pgsluice on the host of the server, as the user that owns the data directory.',
    })
  }
}
