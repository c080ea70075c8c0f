/** The server's side of a status: where it is in its WAL, and what it believes of its archive. */
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { formatLsn } from '../postgres/lsn.js'
import { countReadyFiles, readWalPosition, type WalPosition } from '../postgres/session/archiver.js'
import { archiverStatus, checkServerVersion, databaseClock, readServer } from '../postgres/session/cluster.js'
import type { ArchiverStatus, ServerInfo } from '../postgres/session/cluster.js'
import { connectToServer } from '../postgres/session/connection.js'
import { parseWalFileName, segmentName, segmentNumberAt, segmentNumberOf } from '../postgres/wal-segment.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { clusterName } from '../repository/layout.js'
import { listSegments } from '../repository/wal-map.js'
import type { Storage } from '../storage/storage.js'
import { archivingProblems, openDataDirectory } from './backup-source.js'

/** Why the answer is no. */
export interface StatusProblem {
  message: string
  hint?: string
}

/** What the server said, at one moment. */
export interface ServerState {
  /** Of its part of the repository. */
  name: string
  facts: { major: number; systemIdentifier: bigint; walSegmentSize: number }
  info: ServerInfo
  position: WalPosition
  now: Date
  archiver: ArchiverStatus
  readyFiles: number | undefined
  /** Its pg_wal, where it can be read from here. */
  pgWal: string | undefined
}

/** The server, as it is told. */
export interface StatusServer {
  version: string
  inRecovery: boolean
  timeline: number
  /** Where it writes; in recovery, where it has replayed to. */
  lsn: string
  segment: string
  archiveMode: string
  archiver: {
    /** Its last attempt failed. */
    isFailing: boolean
    failedCount: number
    lastArchived?: string
    lastArchivedTime?: string
    lastFailed?: string
    lastFailedTime?: string
    /** Files that wait for it; missing for a role that may not look. */
    readyFiles?: number
  }
}

/** Asks the server. */
export async function readServerState(settings: Settings, signal: AbortSignal): Promise<ServerState> {
  const session = await connectToServer({ dbname: settings.dbname, signal })
  try {
    const info = await readServer(session)
    checkServerVersion(info)
    const { major, systemIdentifier, walSegmentSize } = info
    return {
      name: clusterName(major, systemIdentifier),
      facts: { major, systemIdentifier, walSegmentSize },
      info,
      archiver: await archiverStatus(session),
      readyFiles: await countReadyFiles(session),
      position: await readWalPosition(session),
      now: await databaseClock(session),
      pgWal: await localPgWal(info, settings),
    }
  } finally {
    await session.end()
  }
}

/** From elsewhere, and as another user, all but a detail can be known: only the wrong directory is an error. */
async function localPgWal(info: ServerInfo, settings: Settings): Promise<string | undefined> {
  try {
    return `${(await openDataDirectory(info, settings)).dataDirectory}/pg_wal`
  } catch (error) {
    if (error instanceof ToolError && error.code !== 'refused') return undefined
    throw error
  }
}

/** The server as it is told. */
export function describeServer({ info, position, archiver, readyFiles, facts }: ServerState): StatusServer {
  const { timeline, lsn, inRecovery } = position
  const { lastArchivedSegment, lastArchivedAt, lastFailedSegment, lastFailedAt, failedCount } = archiver
  return {
    version: info.version,
    inRecovery,
    timeline,
    lsn: formatLsn(lsn),
    segment: segmentName(timeline, segmentNumberAt(lsn, facts.walSegmentSize), facts.walSegmentSize),
    archiveMode: info.archiveMode,
    archiver: {
      isFailing: isFailing(archiver),
      failedCount,
      ...(lastArchivedSegment !== undefined && { lastArchived: lastArchivedSegment }),
      ...(lastArchivedAt && { lastArchivedTime: lastArchivedAt.toISOString() }),
      ...(lastFailedSegment !== undefined && { lastFailed: lastFailedSegment }),
      ...(lastFailedAt && { lastFailedTime: lastFailedAt.toISOString() }),
      ...(readyFiles !== undefined && { readyFiles }),
    },
  }
}

/** What the server itself says is wrong. A standby has its primary to archive for it. */
export function archiverProblems({ info, position, archiver }: ServerState): StatusProblem[] {
  const problems: StatusProblem[] = []
  if (!position.inRecovery)
    for (const { message, hint } of archivingProblems(info)) problems.push({ message, ...(hint && { hint }) })
  if (isFailing(archiver)) {
    problems.push({
      message: `archiving fails: the last attempt, for "${archiver.lastFailedSegment}", was at ${archiver.lastFailedAt?.toISOString()}`,
      hint: 'See the log of the server for what archive_command says.',
    })
  }
  return problems
}

function isFailing({ lastFailedAt, lastArchivedAt }: ArchiverStatus): boolean {
  return lastFailedAt !== undefined && (lastArchivedAt === undefined || lastFailedAt > lastArchivedAt)
}

/** A problem where the segment that the server archived last is not in the bucket. */
export async function missesClaim(
  storage: Storage,
  cluster: ClusterIdentity,
  { archiver: { lastArchivedSegment = '' } }: ServerState,
  signal: AbortSignal,
): Promise<StatusProblem | undefined> {
  const file = parseWalFileName(lastArchivedSegment)
  if (file?.kind !== 'segment') return undefined
  const number = segmentNumberOf(file, cluster.walSegmentSize)
  for await (const { name } of listSegments(storage, cluster, file.timeline, { from: number, to: number, signal }))
    if (name === file.name) return undefined
  return {
    message: `the server says that it archived "${file.name}", but it is not in "${storage.url}"`,
    hint: 'archive_command writes to another repository, or to none, or the segment was lost since: see "pgsluice check".',
  }
}

/** Whether the server has been told that a segment is archived. What it does not remember is taken for archived. */
export function wasClaimed({ archiver, facts }: ServerState, segment: string): boolean {
  const last = parseWalFileName(archiver.lastArchivedSegment ?? '')
  const file = parseWalFileName(segment)
  if (file?.kind !== 'segment' || !last || last.kind === 'history' || last.timeline !== file.timeline) return true
  return segmentNumberOf(last, facts.walSegmentSize) >= segmentNumberOf(file, facts.walSegmentSize)
}
