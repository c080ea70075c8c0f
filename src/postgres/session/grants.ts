/** The statements that make a role able to take backups, and to do nothing else (P5). */
import { escapeIdentifier } from 'pg'
import { backupFunctionsOf, executeGrant, settingsGrant } from './privileges.js'

/** Of which servers the functions are asked for. */
export interface GrantSet {
  /** `PostgreSQL 15 and newer` */
  servers: string
  statements: string[]
}

/**
 * The role and its grants, for a superuser to run in the database that pgsluice connects to. Since 15 the functions have
 * other names; where the major version is not known, both sets are returned.
 */
export function backupGrants(role: string, major: number | undefined): GrantSet[] {
  const set = (servers: string, named: number): GrantSet => {
    const { start, stop } = backupFunctionsOf(named)
    const functions = [start, stop, 'pg_switch_wal()', 'pg_create_restore_point(text)']
    return {
      servers,
      statements: [
        `CREATE ROLE ${escapeIdentifier(role)} LOGIN;`,
        settingsGrant(role),
        ...functions.map((signature) => executeGrant(signature, role)),
      ],
    }
  }
  const newer = set('PostgreSQL 15 and newer', 15)
  const older = set('PostgreSQL 13 and 14', 14)
  if (major === undefined) return [newer, older]
  return [major >= 15 ? newer : older]
}
