/** Turns "permission denied" into the exact GRANT that would have helped (P5). */
import { escapeIdentifier } from 'pg'
import { ToolError } from '../../errors.js'
import { sqlStateOf } from './connect-errors.js'
import type { Session } from './connection.js'

const INSUFFICIENT_PRIVILEGE = '42501'

/** Since 15 the functions have their new names and no exclusive mode. */
const RENAMED_IN = 150_000

/** Signatures of the functions that start and stop a backup, as this version names them (S1, E1). */
export function backupFunctions(session: Session): { start: string; stop: string } {
  return session.versionNum >= RENAMED_IN
    ? { start: 'pg_backup_start(text, boolean)', stop: 'pg_backup_stop(boolean)' }
    : { start: 'pg_start_backup(text, boolean, boolean)', stop: 'pg_stop_backup(boolean, boolean)' }
}

/** Throws where the role could not start a backup, or start one that it could not stop hours later (P5). */
export async function checkBackupPrivileges(session: Session): Promise<void> {
  const { start, stop } = backupFunctions(session)
  for (const signature of [start, stop]) {
    const [row] = await session.query<{ answer: boolean }>(`select has_function_privilege($1, 'EXECUTE') as answer`, [
      `pg_catalog.${signature}`,
    ])
    if (row?.answer === true) continue
    throw new ToolError('database', `the role "${session.user}" may not execute ${signature}`, {
      hint: grantHint(session, signature),
    })
  }
}

/** Privileges on functions belong to one database: granted in another they do not help. */
function grantHint(session: Session, signature: string): string {
  const grant = `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ${escapeIdentifier(session.user)};`
  return `A superuser can allow it in the database "${session.database}" with: ${grant}`
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
