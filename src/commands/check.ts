/**
 * Is everything ready: would a backup succeed, and does WAL reach the repository? Each finding is one line: ok, warning
 * or failure, with what to do about it.
 */
import type { Settings } from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'
import { readWalPosition } from '../postgres/session/archiver.js'
import { connectToServer, type Session } from '../postgres/session/connection.js'
import { checkBackupPrivileges } from '../postgres/session/privileges.js'
import { checkServerVersion, readServer, type ServerInfo } from '../postgres/session/cluster.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import { claimIdentity } from '../repository/identity.js'
import { inspectStorage, type Probe } from '../storage/inspect.js'
import { openStorage } from '../storage/open-storage.js'
import type { Storage } from '../storage/storage.js'
import { proveArchiving } from './archiving-proof.js'
import { archivingProblems, openDataDirectory } from './backup-source.js'
import type { CommandContext } from './context.js'
import { keepProfile, storageOptions } from './open-repository.js'
import { findOtherServers } from './other-servers.js'

/** Somebody sits before a check and waits. */
const ARCHIVE_TIMEOUT_MS = 60_000

/** One line of the answer. */
export interface Finding {
  about: 'server' | 'data directory' | 'repository' | 'archiving'
  result: 'ok' | 'warning' | 'failure'
  message: string
  hint?: string
}

/** Checks server, repository and the way between them. Never throws for what it finds: `ready` says the answer. */
export async function check(
  settings: Settings,
  context: CommandContext,
): Promise<{ ready: boolean; findings: Finding[] }> {
  const findings: Finding[] = []
  const storage = await checkRepository(settings, findings, context)
  let session: Session | undefined
  try {
    session = await attempt(findings, 'server', () =>
      connectToServer({ dbname: settings.dbname, signal: context.signal }),
    )
    const server = session && (await checkServer(session, findings))
    if (session && server) {
      const directory = await attempt(findings, 'data directory', async () => {
        const { dataDirectory } = await openDataDirectory(server, settings)
        add(findings, 'data directory', 'ok', `"${dataDirectory}" can be read, and is the server's`)
        return dataDirectory
      })
      if (storage) await checkArchiving(session, { server, directory, storage }, settings, findings, context)
    }
  } finally {
    await session?.end()
    storage?.close()
  }
  return { ready: findings.every(({ result }) => result !== 'failure'), findings }
}

async function checkRepository(
  settings: Settings,
  findings: Finding[],
  context: CommandContext,
): Promise<Storage | undefined> {
  return attempt(findings, 'repository', async () => {
    const storage = await openStorage(storageOptions(settings))
    try {
      const { probes, abilities, leftKeys } = await inspectStorage(storage, { signal: context.signal })
      // what could not be tried, since nothing can be written, says nothing of its own
      const tried = probes.filter(({ result }) => result !== 'skipped')
      findings.push(...tried.map(repositoryFinding))
      const writable = probes.some(({ name, result }) => name === 'write' && result === 'yes')
      if (!writable) {
        storage.close()
        return undefined
      }
      if (leftKeys.length > 0) {
        const what = `${leftKeys.length} objects of this check stay, since they could not be deleted`
        add(findings, 'repository', 'ok', `${what}: a backup host needs no right to delete`)
      }
      await keepProfile(storageOptions(settings), { probes, abilities }, context.signal)
      return storage
    } catch (error) {
      storage.close()
      throw error
    }
  })
}

const PROBE_TEXTS: Readonly<Record<Probe['name'], { ok: string; no: string; fatal: boolean }>> = {
  write: { ok: 'objects can be written', no: 'objects cannot be written', fatal: true },
  read: { ok: 'objects can be read', no: 'objects cannot be read', fatal: true },
  'ranged-read': { ok: 'parts of objects can be read', no: 'parts of objects cannot be read', fatal: true },
  list: { ok: 'objects can be listed', no: 'objects cannot be listed', fatal: true },
  delete: {
    ok: 'objects can be deleted',
    no: 'objects cannot be deleted: retention has to run elsewhere',
    fatal: false,
  },
  'checksum-headers': {
    ok: 'checksums are verified on arrival',
    no: 'checksum headers are not taken; writes go without',
    fatal: false,
  },
  'create-only-put': {
    ok: 'create-only writes are honoured',
    no: 'create-only writes are not honoured: two servers that archive to the same place at the same moment could overwrite each other',
    fatal: false,
  },
  'create-only-multipart': {
    ok: 'create-only multipart uploads are honoured',
    no: 'create-only multipart uploads are not honoured; a look before the write stands in for them',
    fatal: false,
  },
}

function repositoryFinding({ name, result, detail }: Probe): Finding {
  const { ok, no, fatal } = PROBE_TEXTS[name]
  if (result === 'yes') return { about: 'repository', result: 'ok', message: ok }
  return {
    about: 'repository',
    result: fatal ? 'failure' : 'warning',
    message: detail === undefined ? no : `${no} (${detail})`,
  }
}

async function checkServer(session: Session, findings: Finding[]): Promise<ServerInfo | undefined> {
  return attempt(findings, 'server', async () => {
    const server = await readServer(session)
    checkServerVersion(server)
    add(findings, 'server', 'ok', `PostgreSQL ${server.version}, system identifier ${server.systemIdentifier}`)
    if (server.inRecovery)
      add(findings, 'server', 'failure', 'the server is in recovery: backups from a standby are not supported yet')
    await attempt(findings, 'server', () => checkBackupPrivileges(session))
    const problems = archivingProblems(server)
    for (const { message, hint } of problems) add(findings, 'server', 'failure', message, hint)
    if (problems.length === 0) add(findings, 'server', 'ok', 'WAL archiving is switched on')
    if (server.archiveTimeoutSeconds === 0) {
      add(
        findings,
        'server',
        'warning',
        'archive_timeout is 0: on a quiet server the newest changes stay unarchived for long',
        "Set archive_timeout = '60s' or what you can afford to lose.",
      )
    }
    if (!server.dataChecksums) {
      add(
        findings,
        'server',
        'warning',
        'data checksums are off: corrupt pages cannot be noticed',
        'Enable them with pg_checksums while the server is stopped.',
      )
    }
    return problems.length === 0 && !server.inRecovery ? server : undefined
  })
}

async function checkArchiving(
  session: Session,
  { server, directory, storage }: { server: ServerInfo; directory: string | undefined; storage: Storage },
  settings: Settings,
  findings: Finding[],
  context: CommandContext,
): Promise<void> {
  await attempt(findings, 'archiving', async () => {
    const { major, systemIdentifier, walSegmentSize, clusterName } = server
    const facts = { major, systemIdentifier, walSegmentSize, alias: clusterName || undefined }
    const cluster = await claimIdentity(storage, facts, context.signal)
    const { archiveTimeoutMs = ARCHIVE_TIMEOUT_MS } = settings
    const pgWalDirectory = directory === undefined ? undefined : `${directory}/pg_wal`
    const began = performance.now()
    const segment = await proveArchiving(
      session,
      storage,
      cluster.name,
      { archiveTimeoutMs, walSegmentSize, pgWalDirectory },
      context,
    )
    if (segment === undefined) {
      add(
        findings,
        'archiving',
        'warning',
        'the way of WAL into the repository was not tried: the role may not switch WAL',
        `GRANT EXECUTE ON FUNCTION pg_switch_wal() TO "${session.user}";`,
      )
    } else {
      const seconds = ((performance.now() - began) / 1000).toFixed(1)
      add(findings, 'archiving', 'ok', `"${segment}" was switched and reached the repository in ${seconds} s`)
    }
    const timeline = parseWalFileName(segment ?? '')?.timeline ?? (await readWalPosition(session)).timeline
    const others = await findOtherServers(storage, cluster, timeline, context)
    for (const { message, hint } of others) add(findings, 'archiving', 'warning', message, hint)
  })
}

function add(
  findings: Finding[],
  about: Finding['about'],
  result: Finding['result'],
  message: string,
  hint?: string,
): void {
  findings.push({ about, result, message, ...(hint !== undefined && { hint }) })
}

/** What fails becomes a finding; an interrupt and a bug do not. */
async function attempt<T>(
  findings: Finding[],
  about: Finding['about'],
  action: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await action()
  } catch (error) {
    if (!(error instanceof ToolError) || error.code === 'interrupted' || error.code === 'usage') throw error
    const reason = error.cause === undefined ? '' : reasonOf(error.cause)
    const cause = reason === '' || error.message.includes(reason) ? '' : `: ${reason}`
    add(findings, about, 'failure', error.message + cause, error.hint)
    return undefined
  }
}
