/** Turns "permission denied" into the exact GRANT that would have helped (P5). */
import { escapeIdentifier } from 'pg'
import { ToolError } from '../../errors.js'
import { sqlStateOf } from './connect-errors.js'
import type { Session } from './connection.js'

const INSUFFICIENT_PRIVILEGE = '42501'

/** Since 15 the functions have their new names and no exclusive mode. */
const RENAMED_IN = 15

/** Signatures of the functions that start and stop a backup, as this major version names them (S1, E1). */
export function backupFunctionsOf(major: number): { start: string; stop: string } {
  return major >= RENAMED_IN
    ? { start: 'pg_backup_start(text, boolean)', stop: 'pg_backup_stop(boolean)' }
    : { start: 'pg_start_backup(text, boolean, boolean)', stop: 'pg_stop_backup(boolean, boolean)' }
}

/** {@link backupFunctionsOf} the server of a session. */
export function backupFunctions({ versionNum }: Session): { start: string; stop: string } {
  return backupFunctionsOf(Math.floor(versionNum / 10_000))
}

/** Throws where the role could not start a backup, or start one that it could not stop hours later (P5). */
export async function checkBackupPrivileges(session: Session): Promise<void> {
  const { start, stop } = backupFunctions(session)
  for (const signature of [start, stop]) {
    if (await mayExecute(session, signature)) continue
    throw new ToolError('database', `the role "${session.user}" may not execute ${signature}`, {
      hint: grantHint(session, signature),
    })
  }
}

/** Something that the role of a session may not do. */
export interface MissingPrivilege {
  /** As in "may not …". */
  what: string
  /** The statement that allows it. */
  grant: string
  /** Whether no backup can be taken without it. */
  needed: boolean
}

/** What backups need, or could use, and the role may not do (P5); empty for a superuser. */
export async function missingPrivileges(session: Session): Promise<MissingPrivilege[]> {
  const { start, stop } = backupFunctions(session)
  const functions = [
    { signature: start, needed: true },
    { signature: stop, needed: true },
    { signature: 'pg_switch_wal()', needed: false },
  ]
  const missing: MissingPrivilege[] = []
  for (const { signature, needed } of functions) {
    if (await mayExecute(session, signature)) continue
    missing.push({ what: `execute ${signature}`, grant: functionGrant(session, signature), needed })
  }
  const [row] = await session.query<{ answer: boolean }>(
    `select pg_has_role(current_user, 'pg_read_all_settings', 'USAGE') as answer`,
  )
  if (row?.answer !== true) {
    const grant = settingsGrant(session.user)
    // --pgdata can stand in for the data directory; configuration files outside of it would not be found
    missing.push({ what: 'see data_directory and the configuration files', grant, needed: false })
  }
  return missing
}

async function mayExecute(session: Session, signature: string): Promise<boolean> {
  const [row] = await session.query<{ answer: boolean }>(`select has_function_privilege($1, 'EXECUTE') as answer`, [
    `pg_catalog.${signature}`,
  ])
  return row?.answer === true
}

/** The statement that allows the role of a session to call a function. */
export function functionGrant(session: Session, signature: string): string {
  return executeGrant(signature, session.user)
}

/** The statement that allows a role to call a function. */
export function executeGrant(signature: string, role: string): string {
  return `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ${escapeIdentifier(role)};`
}

/** The statement that allows a role to see where the data directory and the configuration files are. */
export function settingsGrant(role: string): string {
  return `GRANT pg_read_all_settings TO ${escapeIdentifier(role)};`
}

/** Privileges on functions belong to one database: granted in another they do not help. */
function grantHint(session: Session, signature: string): string {
  return `A superuser can allow it in the database "${session.database}" with: ${functionGrant(session, signature)}`
}

/** Runs `work`, which calls the function of that signature; a missing privilege becomes a hint with its GRANT. */
export async function withGrantHint<T>(session: Session, signature: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ToolError) || sqlStateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error
    throw new ToolError('database', error.message, { cause: error, hint: grantHint(session, signature) })
  }
}
