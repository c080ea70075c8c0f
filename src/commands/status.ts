/**
 * How far the archive is behind the server, and up to which instant the cluster can be recovered. What counts is what the
 * bucket holds: an archive_command that says 0 and stores nothing keeps every server happy.
 */
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listBackups } from '../repository/catalog.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { findHeads, type TimelineHead, type TimelineTree } from '../repository/timeline-tree.js'
import { findWalEnd } from '../repository/wal-map.js'
import type { PathGap } from '../repository/wal-path.js'
import type { Storage } from '../storage/storage.js'
import { measureLag, type ArchiveLag } from './archive-lag.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { listHead, readTree } from './heads.js'
import { openToRead } from './open-repository.js'
import { findRecoverable, type Recoverable } from './recoverable.js'
import { clusterOf, offlineCluster } from './status-cluster.js'
import { archiverProblems, describeServer, missesClaim, readServerState, wasClaimed } from './status-server.js'
import type { ServerState, StatusProblem, StatusServer } from './status-server.js'
import type { ListedHead } from './heads.js'

/** What to ask, and which answers are too bad. */
export interface StatusOptions {
  /** Look at the bucket alone. */
  offline?: boolean | undefined
  /** No limit by default. */
  maxLagMs?: number | undefined
  maxSegments?: number | undefined
}

/** The answer. LSNs as text, times RFC 3339. */
export interface Status {
  ok: boolean
  cluster: string
  /** Whose clock `time` and the ages are by. */
  clock: 'server' | 'local'
  time: string
  /** The timeline that the rest is about; missing where nothing tells which. */
  timeline?: number
  server?: StatusServer
  lag?: StatusLag
  /** The newest backup that leads to the timeline and has all of its WAL. */
  backup?: { id: string; label: string; stopTime: string; stopLsn: string; timeline: number; ageSeconds: number }
  /** The end of the last transaction that can be recovered; where none follows the backup, the backup's own. */
  recoverable?: { time: string; lsn: string; ageSeconds: number; isBackupEnd: boolean }
  /** The first segment behind the backup that is missing, where later ones are there. */
  gap?: PathGap
  heads: ListedHead[]
  problems: StatusProblem[]
}

/** {@link ArchiveLag}; `archivedLsn`: up to there the archive has the server's WAL without a gap. */
export interface StatusLag extends Omit<ArchiveLag, 'seconds'> {
  archivedLsn: string
  seconds?: number
}

/**
 * Looks at server and bucket. What is wrong with them is in the answer; rejects where it cannot be found out.
 */
export async function status(settings: Settings, options: StatusOptions, context: CommandContext): Promise<Status> {
  const { offline = false, maxLagMs, maxSegments } = options
  if (offline && (maxLagMs !== undefined || maxSegments !== undefined)) {
    throw new ToolError('usage', '--max-lag and --max-segments say how far the archive may be behind the server', {
      hint: 'Leave --offline away, which does not ask the server.',
    })
  }
  const { storage } = await openToRead(settings)
  try {
    // the server first: what it says is archived must then be in the bucket
    const server = offline ? undefined : await readServerState(settings, context.signal)
    const cluster = server
      ? await clusterOf(storage, settings, server.facts, context.signal)
      : await offlineCluster(storage, settings, context.signal)
    return cluster ? await compare(storage, { cluster, server }, options, context) : nothingStored(storage, server)
  } finally {
    storage.close()
  }
}

function nothingStored(storage: Storage, server: ServerState | undefined): Status {
  if (!server) throw new Error('a cluster without a server is one of the repository')
  return {
    ok: false,
    cluster: server.name,
    clock: 'server',
    time: server.now.toISOString(),
    timeline: server.position.timeline,
    server: describeServer(server),
    heads: [],
    problems: [
      {
        message: `nothing of this cluster is stored in "${storage.url}"`,
        hint: 'See "pgsluice check", and take a backup.',
      },
      ...archiverProblems(server),
    ],
  }
}

async function compare(
  storage: Storage,
  { cluster, server }: { cluster: ClusterIdentity; server: ServerState | undefined },
  { maxLagMs, maxSegments }: StatusOptions,
  context: CommandContext,
): Promise<Status> {
  const { signal } = context
  const problems = server ? archiverProblems(server) : []
  // the backups first: the WAL that a record names was there before the record
  const backups = await listBackups(storage, cluster.name, warnOfUnreadable(context), signal)
  const tree = await readTree(storage, cluster, context)
  const heads = await findHeads(storage, cluster, tree, { signal })
  const timeline = server ? server.position.timeline : onlyTimeline(heads, backups, problems)
  const now = server?.now ?? new Date()
  const found =
    timeline === undefined
      ? undefined
      : await recoverableOn(
          storage,
          { cluster, tree, backups, timeline, isServers: server !== undefined },
          problems,
          signal,
        )
  const claim = server && (await missesClaim(storage, cluster, server, signal))
  if (claim) problems.push(claim)
  const gap = found?.gap
  // a server that archives several segments at a time may be about to fill it
  const isWaiting = gap !== undefined && server !== undefined && !wasClaimed(server, gap.missing)
  if (gap && !isWaiting) {
    problems.push({
      message: `WAL segment "${gap.missing}" is missing behind backup ${found.backup.id}, and ${gap.isBehindStored ? `"${gap.behind}" is there` : `WAL went on to "${gap.behind}"`}`,
      hint: 'Recovery ends before that gap: take a new backup now.',
    })
  }
  const lag = server && (await lagOf(storage, cluster, server, found, signal))
  if (lag) problems.push(...lagProblems(lag, maxLagMs, maxSegments))
  return {
    ok: problems.length === 0,
    cluster: cluster.name,
    clock: server ? 'server' : 'local',
    time: now.toISOString(),
    ...(timeline !== undefined && { timeline }),
    ...(server && { server: describeServer(server) }),
    ...(lag && { lag }),
    ...(found && describeRecoverable(found, now)),
    ...(gap && !isWaiting && { gap }),
    heads: heads.map(listHead),
    problems,
  }
}

/** Without the server only the archive can say which timeline is meant, and with two heads it does not (format rule 9). */
function onlyTimeline(
  heads: readonly TimelineHead[],
  backups: readonly BackupRecord[],
  problems: StatusProblem[],
): number | undefined {
  const [head, ...more] = heads
  if (more.length === 0) return head?.timeline ?? backups.at(-1)?.stop.timeline
  problems.push({
    message: `timelines ${heads.map(({ timeline }) => timeline).join(' and ')} have WAL of their own, and without the server nothing tells which is meant`,
    hint: 'Ask on the host of the server, without --offline.',
  })
  return undefined
}

async function recoverableOn(
  storage: Storage,
  { cluster, tree, backups, timeline, isServers }: Subject,
  problems: StatusProblem[],
  signal: AbortSignal,
): Promise<Recoverable | undefined> {
  const incomplete: string[] = []
  const onIncomplete = (id: string): void => void incomplete.push(id)
  // the server itself says of a hole whether it is about to fill it
  const waits = !isServers
  const found = await findRecoverable(storage, cluster, tree, { backups, timeline }, { onIncomplete, waits, signal })
  for (const id of incomplete) {
    const hint = 'See "pgsluice wal list", and take a new backup.'
    problems.push({ message: `backup ${id} cannot be restored: WAL that it needs is missing`, hint })
  }
  if (found) return found
  const isUnknown = timeline !== 1 && !tree.nodes.get(timeline)?.history && !backups.some(isOn(timeline))
  if (isServers && isUnknown && backups.length > 0) {
    problems.push({
      message: `the server is on timeline ${timeline}, whose history file is not in the archive: no backup leads there`,
      hint: 'Right after a promotion it is the first file that the server archives.',
    })
  } else if (incomplete.length === 0) {
    const which = backups.length === 0 ? 'there is no backup' : `no backup leads to timeline ${timeline}`
    problems.push({ message: which, hint: 'Take one with "pgsluice backup".' })
  }
  return undefined
}

interface Subject {
  cluster: ClusterIdentity
  tree: TimelineTree
  backups: readonly BackupRecord[]
  timeline: number
  isServers: boolean
}

function isOn(timeline: number): (backup: BackupRecord) => boolean {
  return ({ stop }) => stop.timeline === timeline
}

/** Undefined where the archive has no WAL of the server's timeline: how far would be a guess. */
async function lagOf(
  storage: Storage,
  cluster: ClusterIdentity,
  server: ServerState,
  found: Recoverable | undefined,
  signal: AbortSignal,
): Promise<StatusLag | undefined> {
  let archivedLsn = found?.archivedLsn
  if (archivedLsn === undefined) {
    const end = await findWalEnd(storage, cluster, server.position.timeline, signal)
    archivedLsn = end && (end.last.number + 1n) * BigInt(cluster.walSegmentSize)
  }
  if (archivedLsn === undefined) return undefined
  const { position, now, pgWal, facts } = server
  const writtenAfter = found && (found.last?.time ?? new Date(found.backup.stop.time))
  const { seconds, ...lag } = await measureLag({ position, now, archivedLsn, writtenAfter, pgWal, server: facts })
  return { archivedLsn: formatLsn(archivedLsn), ...lag, ...(seconds !== undefined && { seconds }) }
}

function lagProblems(lag: StatusLag, maxLagMs: number | undefined, maxSegments: number | undefined): StatusProblem[] {
  const problems: StatusProblem[] = []
  const hint = 'See the log of the server for what archive_command says, and "pgsluice check".'
  const { seconds, segments } = lag
  if (maxLagMs !== undefined && seconds !== undefined && seconds * 1000 > maxLagMs) {
    const much = `${lag.isAtMost ? 'up to ' : ''}${seconds.toFixed(1)} s behind`
    problems.push({ message: `the archive is ${much}, more than ${maxLagMs / 1000} s`, hint })
  }
  if (maxSegments !== undefined && segments > maxSegments)
    problems.push({
      message: `whole WAL segments that are not in the archive: ${segments}, more than ${maxSegments}`,
      hint,
    })
  return problems
}

function describeRecoverable(
  { backup, last }: Recoverable,
  now: Date,
): Required<Pick<Status, 'backup' | 'recoverable'>> {
  const ageOf = (time: Date): number => Math.max(0, (now.getTime() - time.getTime()) / 1000)
  const { id, label, stop } = backup
  const stopped = new Date(stop.time)
  // a commit takes its time before it gets its place, so that one behind the stop may be a little older
  const time = last && last.time > stopped ? last.time : stopped
  return {
    backup: {
      ...{ id, label, stopTime: stop.time, stopLsn: formatLsn(parseLsn(stop.lsn)), timeline: stop.timeline },
      ageSeconds: ageOf(stopped),
    },
    recoverable: {
      time: time.toISOString(),
      lsn: formatLsn(last?.lsn ?? parseLsn(stop.lsn)),
      ageSeconds: ageOf(time),
      isBackupEnd: last === undefined,
    },
  }
}
