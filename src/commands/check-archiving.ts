/** The way of WAL from the server into the repository, and what the repository holds of that server. */
import type { Settings } from '../config/settings.js'
import { readWalPosition } from '../postgres/session/archiver.js'
import type { ServerInfo } from '../postgres/session/cluster.js'
import type { Session } from '../postgres/session/connection.js'
import { functionGrant } from '../postgres/session/privileges.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import { listBackups } from '../repository/catalog.js'
import { claimIdentity, type ClusterIdentity } from '../repository/identity.js'
import { storeNow } from '../storage/store-clock.js'
import type { Storage } from '../storage/storage.js'
import { proveArchiving } from './archiving-proof.js'
import type { CommandContext } from './context.js'
import { add, attempt, type Finding } from './findings.js'
import { readTree } from './heads.js'
import { findOtherServers } from './other-servers.js'
import { findRecoverable } from './recoverable.js'

/** Somebody sits before a check and waits. */
const ARCHIVE_TIMEOUT_MS = 60_000
/** A weekly backup, and a day to notice that one is missing. */
const OLD_BACKUP_DAYS = 8

/** What is checked with what. */
export interface ArchivingSubject {
  server: ServerInfo
  /** Real path of PGDATA, where it can be read. */
  directory: string | undefined
  storage: Storage
}

/** Sends one segment the whole way, then looks at the backups of this cluster and the WAL behind them. */
export async function checkArchiving(
  session: Session,
  { server, directory, storage }: ArchivingSubject,
  settings: Settings,
  findings: Finding[],
  context: CommandContext,
): Promise<void> {
  const { major, systemIdentifier, walSegmentSize, clusterName } = server
  const facts = { major, systemIdentifier, walSegmentSize, alias: clusterName || undefined }
  const cluster = await attempt(findings, 'repository', () => claimIdentity(storage, facts, context.signal))
  if (!cluster) return
  const alias = cluster.alias === undefined ? '' : ` (${cluster.alias})`
  add(findings, 'repository', 'ok', `cluster ${cluster.name}${alias}, in format ${cluster.formatVersion}`)
  const timeline = await attempt(findings, 'archiving', async () => {
    const segment = await proveSegment(session, { server, directory, storage, cluster, settings }, findings, context)
    const current = parseWalFileName(segment ?? '')?.timeline ?? (await readWalPosition(session)).timeline
    const others = await findOtherServers(storage, cluster, current, context)
    for (const { message, hint } of others) add(findings, 'archiving', 'warning', message, hint)
    return current
  })
  if (timeline !== undefined)
    await attempt(findings, 'repository', () => checkBackups(storage, cluster, timeline, findings, context))
}

async function proveSegment(
  session: Session,
  subject: ArchivingSubject & { cluster: ClusterIdentity; settings: Settings },
  findings: Finding[],
  context: CommandContext,
): Promise<string | undefined> {
  const { server, directory, storage, cluster, settings } = subject
  const options = {
    archiveTimeoutMs: settings.archiveTimeoutMs ?? ARCHIVE_TIMEOUT_MS,
    walSegmentSize: server.walSegmentSize,
    pgWalDirectory: directory === undefined ? undefined : `${directory}/pg_wal`,
  }
  const began = performance.now()
  const segment = await proveArchiving(session, storage, cluster.name, options, context)
  if (segment === undefined) {
    const message = 'the way of WAL into the repository was not tried: the role may not switch WAL'
    add(findings, 'archiving', 'warning', message, functionGrant(session, 'pg_switch_wal()'))
    return undefined
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  add(findings, 'archiving', 'ok', `"${segment}" was switched and reached the repository in ${seconds} s`)
  return segment
}

/** The newest backup that can be restored on the server's timeline, its age, and the first gap in the WAL behind it. */
async function checkBackups(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  findings: Finding[],
  context: CommandContext,
): Promise<void> {
  const { signal } = context
  const backups = await listBackups(
    storage,
    cluster.name,
    ({ id, error }) => {
      add(findings, 'repository', 'warning', `the record of backup ${id} cannot be used: ${error.message}`, error.hint)
    },
    signal,
  )
  if (backups.length === 0) {
    add(findings, 'repository', 'ok', 'there is no backup yet: take one with "pgsluice backup"')
    return
  }
  const tree = await readTree(storage, cluster, context)
  const onIncomplete = (id: string): void => {
    add(
      findings,
      'repository',
      'warning',
      `backup ${id} cannot be restored: WAL that it needs is missing`,
      'pgsluice backup',
    )
  }
  const found = await findRecoverable(
    storage,
    cluster,
    tree,
    { backups, timeline },
    { onIncomplete, waits: true, signal },
  )
  if (!found) {
    add(
      findings,
      'repository',
      'warning',
      `no backup leads to timeline ${timeline}, on which the server is`,
      'pgsluice backup',
    )
    return
  }
  const { backup, gap } = found
  const hours = Math.max(0, ((await storeNow(storage, signal)).getTime() - Date.parse(backup.stop.time)) / 3_600_000)
  const age = hours < 48 ? `${Math.floor(hours)} h` : `${Math.floor(hours / 24)} d`
  const message = `the newest backup, ${backup.id}, is ${age} old`
  if (hours < OLD_BACKUP_DAYS * 24) add(findings, 'repository', 'ok', message)
  else add(findings, 'repository', 'warning', message, 'pgsluice backup')
  if (gap) {
    const what = `WAL segment "${gap.missing}" is missing behind it: recovery ends before that gap`
    add(findings, 'repository', 'warning', what, 'pgsluice backup')
  } else {
    add(findings, 'repository', 'ok', `the WAL behind it is in the archive without a gap, up to ${found.lastSegment}`)
  }
}
