/** The statements that make a role able to take backups, and to do nothing else (P5). */
import { escapeIdentifier } from 'pg'

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
  const name = escapeIdentifier(role)
  const grant = (signature: string): string => `GRANT EXECUTE ON FUNCTION pg_catalog.${signature} TO ${name};`
  const set = (servers: string, start: string, stop: string): GrantSet => ({
    servers,
    statements: [
      `CREATE ROLE ${name} LOGIN;`,
      `GRANT pg_read_all_settings TO ${name};`,
      ...[start, stop, 'pg_switch_wal()', 'pg_create_restore_point(text)'].map(grant),
    ],
  })
  const newer = set('PostgreSQL 15 and newer', 'pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)')
  const older = set(
    'PostgreSQL 13 and 14',
    'pg_start_backup(text, boolean, boolean)',
    'pg_stop_backup(boolean, boolean)',
  )
  if (major === undefined) return [newer, older]
  return [major >= 15 ? newer : older]
}
