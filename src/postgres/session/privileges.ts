/** Turns "permission denied" into the exact GRANT that would have helped (P5). */
import { escapeIdentifier } from 'pg'
import { ToolError } from '../../errors.js'
import { sqlStateOf } from './connect-errors.js'
import type { Session } from './connection.js'

const INSUFFICIENT_PRIVILEGE = '42501'

/** Runs `work`, which calls the function of that signature; a missing privilege becomes a hint with its GRANT. */
export async function withGrantHint<T>(session: Session, signature: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof ToolError) || sqlStateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error
    // Privileges on functions belong to one database: granted in another they do not help.
    const grant = `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ${escapeIdentifier(session.user)};`
    throw new ToolError('database', error.message, {
      cause: error,
      hint: `A superuser can allow it in the database "${session.database}" with: ${grant}`,
    })
  }
}
