/** The server: its version, its role and privileges, and the settings that archiving depends on. */
import { checkServerVersion, readServer, type ServerInfo } from '../postgres/session/cluster.js'
import type { Session } from '../postgres/session/connection.js'
import { missingPrivileges } from '../postgres/session/privileges.js'
import { archivingProblems } from './backup-source.js'
import { add, attempt, type Finding } from './findings.js'

/** Checks the server; undefined where no backup could be taken of it. */
export async function checkServer(session: Session, findings: Finding[]): Promise<ServerInfo | undefined> {
  return attempt(findings, 'server', async () => {
    const server = await readServer(session)
    checkServerVersion(server)
    add(findings, 'server', 'ok', `PostgreSQL ${server.version}, system identifier ${server.systemIdentifier}`)
    if (server.inRecovery)
      add(
        findings,
        'server',
        'failure',
        'the server is in recovery: backups from a standby are not supported yet',
        'Run "pgsluice check", and the backup, on the primary.',
      )
    await attempt(findings, 'server', () => checkRole(session, findings))
    const problems = archivingProblems(server)
    for (const { message, hint } of problems) add(findings, 'server', 'failure', message, hint)
    if (problems.length === 0) add(findings, 'server', 'ok', archivingText(server))
    archiveTimeoutFinding(server, findings)
    checksumsFinding(server, findings)
    return problems.length === 0 && !server.inRecovery ? server : undefined
  })
}

/** What the role may not do, with the statements that change it. */
async function checkRole(session: Session, findings: Finding[]): Promise<void> {
  const missing = await missingPrivileges(session)
  const where = `-- as a superuser, in the database "${session.database}"`
  for (const { what, grant, needed } of missing) {
    const message = `the role "${session.user}" may not ${what}`
    add(findings, 'server', needed ? 'failure' : 'warning', message, `${grant} ${where}`)
  }
  if (missing.length === 0)
    add(findings, 'server', 'ok', `the role "${session.user}" may do all that backups need in "${session.database}"`)
}

function archivingText({ walLevel, archiveMode, archiveCommand, archiveLibrary = '' }: ServerInfo): string {
  const how = archiveLibrary === '' ? `archive_command "${archiveCommand}"` : `archive_library "${archiveLibrary}"`
  return `WAL archiving is switched on: wal_level ${walLevel}, archive_mode ${archiveMode}, ${how}`
}

function archiveTimeoutFinding({ archiveTimeoutSeconds: seconds }: ServerInfo, findings: Finding[]): void {
  if (seconds > 0) {
    add(findings, 'server', 'ok', `archive_timeout is ${seconds} s: no change stays unarchived for much longer`)
    return
  }
  add(
    findings,
    'server',
    'warning',
    'archive_timeout is 0: on a quiet server the newest changes stay unarchived for long',
    "ALTER SYSTEM SET archive_timeout = '60s'; SELECT pg_reload_conf();",
  )
}

function checksumsFinding({ dataChecksums }: ServerInfo, findings: Finding[]): void {
  if (dataChecksums) {
    add(findings, 'server', 'ok', 'data checksums are on: pages are checked while they are backed up')
    return
  }
  add(
    findings,
    'server',
    'warning',
    'data checksums are off: corrupt pages cannot be noticed',
    'Stop the server, run "pg_checksums --enable" on its data directory, and start it.',
  )
}
