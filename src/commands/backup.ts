/**
 * Take a base backup: start, copy, stop, index, wait for WAL, commit.
 *
 * Everything between start and stop runs on one held session; whatever fails, the session is closed, which makes the
 * server forget the backup (E11). The record is written last: until then there is no backup (E9).
 */
import { randomBytes } from 'node:crypto'
import { hostname, availableParallelism } from 'node:os'
import { planResources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { checkLabel, parseBackupLabel } from '../postgres/backup-label.js'
import { readControlFile } from '../postgres/control-file.js'
import { formatLsn } from '../postgres/lsn.js'
import { startBackup, startProbing, stopBackup, type StartedBackup } from '../postgres/session/backup-session.js'
import { databaseClock, listConfigFiles, listTablespaces } from '../postgres/session/cluster.js'
import { connectToServer, type Session } from '../postgres/session/connection.js'
import { segmentName, segmentNames, segmentNumberAt } from '../postgres/wal-segment.js'
import { commitBackup, type BackupRecord } from '../repository/backup-record.js'
import { documentHead } from '../repository/document.js'
import { HeartbeatWriter } from '../repository/heartbeat.js'
import { claimIdentity } from '../repository/identity.js'
import { backupId } from '../repository/layout.js'
import { awaitWalRange } from '../repository/wal-range.js'
import { WorkerPool } from '../workers/pool.js'
import { proveArchiving } from './archiving-proof.js'
import { copyCluster, takeInventory, type Copied, type Inventory } from './backup-copy.js'
import { writeIndexes, type Indexes } from './backup-indexes.js'
import { findBackupSource, type BackupSource } from './backup-source.js'
import type { CommandContext } from './context.js'
import { openToWrite } from './open-repository.js'
import { TOOL } from './version.js'

/** Options of {@link backup}. */
export interface BackupOptions {
  /** The user's name for it; any single line of printable text. Default: none. */
  label?: string | undefined
  /** `spread` lets the checkpoint at the start take its time. Default `fast`. */
  checkpoint?: 'fast' | 'spread' | undefined
}

/** Takes a backup and returns its record. With page errors the backup is complete: see `totals.pageErrors`. */
export async function backup(
  settings: Settings,
  options: BackupOptions,
  context: CommandContext,
): Promise<BackupRecord> {
  const label = options.label ?? 'pgsluice'
  checkLabel(label)
  const resources = planResources(settings, availableParallelism())
  const session = await connectToServer({ dbname: settings.dbname, signal: context.signal })
  try {
    const source = await findBackupSource(session, settings)
    const repository = await openToWrite(settings, resources, context.signal)
    const pool = new WorkerPool({
      threads: resources.jobs,
      storage: repository.options,
      graceMs: settings.requestTimeoutMs + 30_000,
    })
    try {
      const run = new BackupRun(settings, context, session, source, repository.storage, pool, resources.jobs)
      return await run.take(label, options.checkpoint ?? 'fast')
    } finally {
      await pool.close()
      repository.storage.close()
    }
  } finally {
    await session.end()
  }
}

/** One backup in progress. */
class BackupRun {
  readonly #settings: Settings
  readonly #context: CommandContext
  readonly #session: Session
  readonly #source: BackupSource
  readonly #storage
  readonly #pool: WorkerPool
  readonly #jobs: number
  readonly #failed = new AbortController()
  readonly #began = performance.now()

  constructor(
    settings: Settings,
    context: CommandContext,
    session: Session,
    source: BackupSource,
    storage: Awaited<ReturnType<typeof openToWrite>>['storage'],
    pool: WorkerPool,
    jobs: number,
  ) {
    this.#settings = settings
    this.#session = session
    this.#source = source
    this.#storage = storage
    this.#pool = pool
    this.#jobs = jobs
    // the user's signal, the loss of the session and of the heartbeat all end the backup at once (P2)
    const signal = AbortSignal.any([context.signal, session.lost, this.#failed.signal])
    this.#context = { report: context.report, signal }
  }

  async take(label: string, checkpoint: 'fast' | 'spread'): Promise<BackupRecord> {
    const { server } = this.#source
    const { report, signal } = this.#context
    const cluster = await claimIdentity(
      this.#storage,
      {
        major: server.major,
        systemIdentifier: server.systemIdentifier,
        walSegmentSize: server.walSegmentSize,
        alias: server.clusterName || undefined,
      },
      signal,
    )
    const { archiveTimeoutMs } = this.#settings
    const { walSegmentSize } = server
    await proveArchiving(
      this.#session,
      this.#storage,
      cluster.name,
      { archiveTimeoutMs, walSegmentSize },
      this.#context,
    )
    const id = backupId(await databaseClock(this.#session), randomBytes(4).toString('hex'))
    report({ type: 'step', message: `starting backup ${id} (${checkpoint} checkpoint)` })
    const started = await startBackup(this.#session, { label, checkpoint })
    const startSegment = segmentName(
      started.timeline,
      segmentNumberAt(started.startLsn, server.walSegmentSize),
      server.walSegmentSize,
    )
    const startLsn = formatLsn(started.startLsn)
    const heartbeat = new HeartbeatWriter(this.#storage, cluster.name, { id, host: hostname(), startLsn, startSegment })
    let state: 'committed' | 'failed' = 'failed'
    try {
      await heartbeat.start((error) => {
        this.#failed.abort(error)
      })
      report({ type: 'backup-started', id, cluster: cluster.name, startLsn, startSegment, jobs: this.#jobs })
      const record = await this.#copyAndCommit(cluster.name, id, label, started)
      state = 'committed'
      return record
    } finally {
      // a last beat that cannot be written changes nothing: the record decides, and a stale beat is taken as failed
      await heartbeat.end(state).catch((error: unknown) => {
        report({ type: 'warning', message: `could not write the last heartbeat of backup ${id}: ${String(error)}` })
      })
    }
  }

  async #copyAndCommit(cluster: string, id: string, label: string, started: StartedBackup): Promise<BackupRecord> {
    const { signal } = this.#context
    const stopProbing = startProbing(this.#session, {
      inRecovery: started.inRecovery,
      onLost: (reason) => {
        this.#failed.abort(reason)
      },
    })
    let inventory: Inventory
    let copied: Copied
    const configFiles = await listConfigFiles(this.#session)
    try {
      await this.#checkStartReachedDisk(started)
      const tablespaces = await listTablespaces(this.#session) // S9: right after start
      inventory = await takeInventory(
        this.#source,
        tablespaces,
        this.#settings.checksum === 'SHA256' ? 32 : 4,
        this.#context,
      )
      copied = await copyCluster(
        this.#source,
        inventory,
        { cluster, id },
        this.#settings,
        this.#pool,
        this.#jobs,
        this.#context,
      )
    } finally {
      stopProbing()
    }
    signal.throwIfAborted()
    const stopped = await stopBackup(this.#session) // E2: every byte of every file has been read
    const startedLabel = parseBackupLabel(stopped.labelFile)
    if (startedLabel.startLsn !== started.startLsn) {
      throw new ToolError(
        'database',
        `the server stopped another backup (start ${formatLsn(startedLabel.startLsn)}) than this one (${formatLsn(started.startLsn)})`,
      )
    }
    const segments = segmentNames(
      started.timeline,
      started.startLsn,
      stopped.stopLsn,
      this.#source.server.walSegmentSize,
    )
    const stopSegment = segments.at(-1) ?? startedLabel.startSegment
    this.#context.report({ type: 'backup-stopped', stopLsn: formatLsn(stopped.stopLsn), stopSegment })
    const indexes = await writeIndexes(
      this.#storage,
      {
        cluster,
        id,
        source: this.#source,
        inventory,
        copied,
        stopped,
        startLsn: started.startLsn,
        timeline: started.timeline,
        checksum: this.#settings.checksum,
        configFiles,
      },
      this.#context,
    )
    await awaitWalRange(this.#storage, cluster, {
      timeline: started.timeline,
      segments,
      walSegmentSize: this.#source.server.walSegmentSize,
      timeoutMs: this.#settings.archiveTimeoutMs,
      signal,
      onWaiting: (missing, seconds) => {
        this.#context.report({ type: 'wal-awaited', segment: missing[0] ?? '', missing: missing.length, seconds })
      },
    })
    const record = this.#record(cluster, id, label, started, stopSegment, {
      inventory,
      copied,
      stopped,
      indexes,
      checkpointLsn: startedLabel.checkpointLsn,
    })
    await commitBackup(this.#storage, record, signal)
    return record
  }

  /** The checkpoint of the start must be in the pg_control that we see, else we see another server's files (P8). */
  async #checkStartReachedDisk(started: StartedBackup): Promise<void> {
    const { control } = await readControlFile(this.#source.dataDirectory)
    if (control.checkpointRedoLsn >= started.startLsn) return
    throw new ToolError(
      'refused',
      `"${this.#source.dataDirectory}" is not what the server writes to: its last checkpoint is at ` +
        `${formatLsn(control.checkpointRedoLsn)}, before the start of the backup at ${formatLsn(started.startLsn)}`,
    )
  }

  #record(
    cluster: string,
    id: string,
    label: string,
    started: StartedBackup,
    stopSegment: string,
    parts: {
      inventory: Inventory
      copied: Copied
      stopped: Awaited<ReturnType<typeof stopBackup>>
      indexes: Indexes
      checkpointLsn: bigint
    },
  ): BackupRecord {
    const { server } = this.#source
    const { inventory, copied, stopped, indexes } = parts
    const { timeline } = started
    return {
      ...documentHead(),
      tool: TOOL,
      id,
      label,
      type: 'full',
      cluster,
      postgresVersion: server.versionNum,
      catalogVersion: server.catalogVersion,
      walSegmentSize: server.walSegmentSize,
      blockSize: server.blockSize,
      dataChecksums: server.dataChecksums,
      fromStandby: false,
      checksumAlgorithm: this.#settings.checksum,
      start: {
        lsn: formatLsn(started.startLsn),
        checkpointLsn: formatLsn(parts.checkpointLsn),
        timeline,
        segment: segmentName(timeline, segmentNumberAt(started.startLsn, server.walSegmentSize), server.walSegmentSize),
        time: started.startTime.toISOString(),
      },
      stop: { lsn: formatLsn(stopped.stopLsn), timeline, segment: stopSegment, time: stopped.stopTime.toISOString() },
      tablespaces: inventory.tablespaces.map(({ path, target }) => ({
        oid: Number(path.toString('latin1').split('/')[1]),
        location: target?.toString() ?? path.toString(),
        ...(target === undefined && { inPlace: true as const }),
      })),
      objects: { sha256: indexes.objects.sha256, count: indexes.objects.count, bytes: indexes.storedBytes },
      files: { sha256: indexes.files.sha256, count: indexes.files.count },
      totals: {
        bytes: inventory.totalBytes,
        storedBytes: indexes.storedBytes,
        seconds: Math.round((performance.now() - this.#began) / 100) / 10,
        pageErrors: copied.pageErrors.reduce((sum, { pages }) => sum + pages, 0),
        vanishedFiles: copied.vanished.length,
        skippedFiles: inventory.skipped.length,
      },
      parent: null,
      uses: {},
    }
  }
}
