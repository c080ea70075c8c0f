/**
 * Take a base backup: start, copy, stop, index, wait for WAL, commit.
 *
 * Everything between start and stop runs on one held session; whatever fails, the session is closed, which makes the
 * server forget the backup (E11). The record is written last: until then there is no backup (E9).
 */
import { randomBytes } from 'node:crypto'
import { availableParallelism, hostname } from 'node:os'
import { planResources, type Resources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { reasonOf, reasonOfAbort, ToolError } from '../errors.js'
import { checkLabel, parseBackupLabel } from '../postgres/backup-label.js'
import { readControlFile } from '../postgres/control-file.js'
import { formatLsn } from '../postgres/lsn.js'
import { startBackup, startProbing, stopBackup, type StartedBackup } from '../postgres/session/backup-session.js'
import { databaseClock, listConfigFiles, listTablespaces, type Tablespace } from '../postgres/session/cluster.js'
import { connectToServer, type Session } from '../postgres/session/connection.js'
import { segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import { commitBackup, type BackupRecord } from '../repository/backup-record.js'
import { HeartbeatWriter } from '../repository/heartbeat.js'
import { claimIdentity } from '../repository/identity.js'
import { backupId } from '../repository/layout.js'
import { requireNotRetired } from '../repository/retired.js'
import { awaitWalRange } from '../repository/wal-range.js'
import { FAR_MS, type Storage } from '../storage/storage.js'
import { WorkerPool } from '../workers/pool.js'
import { proveArchiving } from './archiving-proof.js'
import { copyCluster } from './backup-copy.js'
import { writeIndexes } from './backup-indexes.js'
import { takeInventory } from './backup-inventory.js'
import { makeRecord } from './backup-record-of.js'
import { findBackupSource, type BackupSource } from './backup-source.js'
import type { CommandContext } from './context.js'
import { followRate } from './follow-rate.js'
import { neededSegments, type FinishedBackup } from './finished-backup.js'
import { keepUnfinished } from './keep-unfinished.js'
import { openToWrite } from './open-repository.js'

/** How long WAL may take to the archive: a backlog of a busy server must not fail its backup. */
const ARCHIVE_TIMEOUT_MS = 600_000

/** Options of {@link backup}. */
export interface BackupOptions {
  /** The user's name for it; any single line of printable text. Default: `pgsluice`. */
  label?: string | undefined
  /** `spread` lets the checkpoint at the start take its time. Default `fast`. */
  checkpoint?: 'fast' | 'spread' | undefined
  /** Reads of 128 KiB instead of 1 MiB: others wait less for the disk. Default false. */
  smallReads?: boolean | undefined
}

/** What one run works with. */
interface BackupRun {
  settings: Settings
  resources: Resources
  session: Session
  source: BackupSource
  storage: Storage
  pool: WorkerPool
  label: string
  checkpoint: 'fast' | 'spread'
  smallReads: boolean
}

/** Takes a backup and returns its record. With page errors the backup is complete: see `totals.pageErrors`. */
export async function backup(
  settings: Settings,
  options: BackupOptions,
  context: CommandContext,
): Promise<BackupRecord> {
  const { label = 'pgsluice', checkpoint = 'fast', smallReads = false } = options
  checkLabel(label)
  const resources = planResources(settings, availableParallelism())
  const session = await connectToServer({ dbname: settings.dbname, signal: context.signal })
  const { rate, stop } = followRate(settings, context)
  try {
    const source = await findBackupSource(session, settings)
    const { storage, options: storageOptions } = await openToWrite(settings, resources, context.signal, rate)
    const graceMs = settings.requestTimeoutMs + 30_000
    const pool = new WorkerPool({ threads: resources.jobs, storage: storageOptions, graceMs })
    try {
      // while they load, archiving is proven
      pool.start()
      return await takeBackup(
        { settings, resources, session, source, storage, pool, label, checkpoint, smallReads },
        context,
      )
    } finally {
      await pool.close()
      storage.close()
    }
  } finally {
    stop()
    await session.end()
  }
}

async function takeBackup(run: BackupRun, outer: CommandContext): Promise<BackupRecord> {
  const { settings, resources, session, source, storage, label, checkpoint } = run
  const { major, systemIdentifier, walSegmentSize, clusterName } = source.server
  const { report } = outer
  const began = performance.now()
  // the user's signal, the loss of the session and of the heartbeat all end the backup at once (P2)
  const failed = new AbortController()
  const context = { report, signal: AbortSignal.any([outer.signal, session.lost, failed.signal]) }
  const { signal } = context
  const facts = { major, systemIdentifier, walSegmentSize, alias: clusterName || undefined }
  const { name: cluster } = await claimIdentity(storage, facts, signal)
  const { archiveTimeoutMs = ARCHIVE_TIMEOUT_MS } = settings
  const pgWalDirectory = `${source.dataDirectory}/pg_wal`
  await proveArchiving(session, storage, cluster, { archiveTimeoutMs, walSegmentSize, pgWalDirectory }, context)

  const id = backupId(await databaseClock(session), randomBytes(4).toString('hex'))
  report({ type: 'step', message: `starting backup ${id} (${checkpoint} checkpoint)` })
  const started = await startBackup(session, { label, checkpoint })
  const startLsn = formatLsn(started.startLsn)
  const startSegment = segmentName(started.timeline, segmentNumberAt(started.startLsn, walSegmentSize), walSegmentSize)
  const heartbeat = new HeartbeatWriter(storage, cluster, { id, host: hostname(), startLsn, startSegment })
  let state: 'committed' | 'failed' | 'unfinished' = 'failed'
  try {
    await heartbeat.start((error) => {
      failed.abort(error)
    })
    report({ type: 'backup-started', id, cluster, startLsn, startSegment, jobs: resources.jobs })
    const finished = await copyUntilStopped(run, { id, cluster, started }, context, (reason) => {
      failed.abort(reason)
    })
    // from here on the server is not needed, and may come and go; nor are the threads, whose memory the indexes can use
    await session.end()
    await run.pool.close()
    const segments = neededSegments(finished)
    report({ type: 'backup-stopped', stopLsn: formatLsn(finished.stopped.stopLsn), stopSegment: segments.at(-1) ?? '' })
    const indexes = await writeIndexes(storage, finished, settings.checksum, context)
    const recordNow = (): BackupRecord => {
      const seconds = Math.round((performance.now() - began) / 100) / 10
      return makeRecord(finished, indexes, { checksum: settings.checksum, seconds })
    }
    try {
      await awaitWalRange(storage, cluster, {
        timeline: started.timeline,
        segments,
        walSegmentSize,
        pgWalDirectory,
        timeoutMs: archiveTimeoutMs,
        signal,
        onWaiting: (missing, seconds) => {
          report({ type: 'wal-awaited', segment: missing[0] ?? '', missing: missing.length, seconds })
        },
      })
      const record = recordNow()
      await requireNotRetired(storage, cluster, { id, timeline: started.timeline, segments, walSegmentSize }, signal)
      await commitBackup(storage, record, signal)
      state = 'committed'
      return record
    } catch (failure) {
      const why = reasonOfAbort(failure, signal)
      const { error, kept } = await keepUnfinished(storage, recordNow(), why, { pgWalDirectory, segments }, report)
      if (kept) state = 'unfinished'
      throw error
    }
  } catch (error) {
    throw reasonOfAbort(error, signal)
  } finally {
    // a last beat that cannot be written changes nothing: the record decides, and a stale beat is taken as failed
    await heartbeat.end(state).catch((error: unknown) => {
      report({ type: 'warning', message: `could not write the last heartbeat of backup ${id}: ${reasonOf(error)}` })
    })
  }
}

/** Between start and stop: the session is watched, and every byte is read before the stop (E2). */
async function copyUntilStopped(
  run: BackupRun,
  backup: { id: string; cluster: string; started: StartedBackup },
  context: CommandContext,
  onLost: (reason: ToolError) => void,
): Promise<FinishedBackup> {
  const { settings, resources, session, source, storage, pool, label, smallReads } = run
  const { started } = backup
  const stopProbing = startProbing(session, { inRecovery: started.inRecovery, onLost })
  let copy
  try {
    await checkStartReachedDisk(source, started)
    const configFiles = await listConfigFiles(session)
    const tablespaces = await listTablespaces(session) // S9: right after start
    checkRecordFits(tablespaces)
    const inventory = await takeInventory(source, tablespaces, settings.checksum, context)
    await checkTablespacesAreThere(inventory.skipped, tablespaces, session)
    const copied = await copyCluster(
      source,
      inventory,
      { ...backup, smallReads, isFar: (storage.distanceMs ?? 0) >= FAR_MS },
      settings,
      pool,
      resources.jobs,
      context,
    )
    copy = { configFiles, inventory, copied }
  } finally {
    stopProbing()
  }
  context.signal.throwIfAborted()
  const stopped = await stopBackup(session)
  const { startLsn, checkpointLsn } = parseBackupLabel(stopped.labelFile)
  if (startLsn !== started.startLsn) {
    const lsns = `${formatLsn(startLsn)} instead of ${formatLsn(started.startLsn)}`
    throw new ToolError('database', `the server stopped another backup than this one: it started at ${lsns}`)
  }
  return { ...backup, ...copy, label, source, checkpointLsn, stopped }
}

/** The checkpoint of the start must be in the pg_control that we see, else we see another server's files (P8). */
async function checkStartReachedDisk(source: BackupSource, started: StartedBackup): Promise<void> {
  const { control } = await readControlFile(source.dataDirectory)
  if (control.checkpointRedoLsn >= started.startLsn) return
  throw new ToolError(
    'refused',
    `"${source.dataDirectory}" is not what the server writes to: its last checkpoint is at ` +
      `${formatLsn(control.checkpointRedoLsn)}, before the start of the backup at ${formatLsn(started.startLsn)}`,
  )
}

/**
 * A tablespace that could not be read is fine if it was dropped meanwhile (T8) or made since the start, when WAL makes it
 * anew (S9); one that is there all the time is a hole in the backup.
 */
async function checkTablespacesAreThere(
  skipped: readonly { path: Buffer; reason: string }[],
  atStart: readonly Tablespace[],
  session: Session,
): Promise<void> {
  const now = new Set((await listTablespaces(session)).map(({ oid }) => oid))
  for (const { path, reason } of skipped) {
    const oid = Number(/^pg_tblspc\/(\d+)(\/PG_[^/]+)?$/.exec(path.toString('latin1'))?.[1])
    const tablespace = atStart.find((each) => each.oid === oid)
    if (!tablespace || !now.has(oid)) continue
    const what = `tablespace "${tablespace.name}" at "${tablespace.location}"`
    throw new ToolError('file-system', `${what} cannot be backed up: ${reason}`, {
      hint: 'Is its file system mounted?',
    })
  }
}

/** The record must stay small (format): better known now than when everything is stored. */
function checkRecordFits(tablespaces: readonly Tablespace[]): void {
  const bytes = Buffer.byteLength(
    JSON.stringify(
      tablespaces.map(({ oid, location }) => ({ oid, location })),
      null,
      2,
    ),
  )
  if (bytes <= 12 * 1024) return
  throw new ToolError('refused', `${tablespaces.length} tablespaces do not fit into a backup record of 16 KiB`)
}
