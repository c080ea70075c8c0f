/**
 * Restore a base backup into a data directory, ready to recover to the end of the archive.
 *
 * Check everything, extract in parallel, verify while writing, settle the recovery, sync, and give pg_control its name
 * last: a restore that was killed cannot be started (R6).
 */
import { rename } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import type { ExtractJob } from '../archive/jobs.js'
import { planResources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'
import { parseLsn } from '../postgres/lsn.js'
import { segmentNames } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { findBackup } from '../repository/catalog.js'
import { findCluster } from '../repository/clusters.js'
import { archiveKey } from '../repository/layout.js'
import { requireWalRange } from '../repository/wal-range.js'
import type { Storage } from '../storage/storage.js'
import { syncDirectory } from '../streams/write-file-durably.js'
import { WorkerPool } from '../workers/pool.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToRead, storageOptions } from './open-repository.js'
import { reportProgress } from './progress.js'
import { writeSmallFiles, type RecoveryChoice } from './restore-files.js'
import { readRestorePlan, type RestorePlan } from './restore-plan.js'
import { findFront, restoreCommand } from './restore-command.js'
import { removeMarker } from './restore-marker.js'
import { checkTarget, makeDirectories, UNNAMED_CONTROL, undoRestore } from './restore-target.js'
import type { RestoreTarget } from './restore-target.js'
import { chooseTimeline } from './restore-timeline.js'
import { syncTarget } from './sync-tree.js'

/** Options of {@link restore}. */
export interface RestoreOptions {
  /** An id, the unique beginning of one, a label (its newest), or `latest`. Default `latest`. */
  backup?: string | undefined
  /** Empty, or not there yet. */
  targetDirectory: string
  /** Old location of a tablespace to its new one. */
  tablespaceMapping?: ReadonlyMap<string, string> | undefined
  /** `off`: the restored server archives nothing until told otherwise (A12). Default `off`. */
  archiveMode?: 'off' | 'preserve' | undefined
}

/** What was restored. */
export interface RestoreResult {
  backup: BackupRecord
  targetDirectory: string
  bytes: number
  seconds: number
}

/** Restores a backup. Whatever fails before pg_control has its name, the target is left as it was before. */
export async function restore(
  settings: Settings,
  options: RestoreOptions,
  context: CommandContext,
): Promise<RestoreResult> {
  const began = performance.now()
  const front = findFront()
  const resources = planResources(settings, availableParallelism())
  const { storage } = await openToRead(settings)
  try {
    const cluster = await findCluster(storage, settings.cluster, context.signal)
    const record = await findBackup(
      storage,
      cluster.name,
      options.backup ?? 'latest',
      warnOfUnreadable(context),
      context.signal,
    )
    context.report({ type: 'step', message: `restoring backup ${record.id} of ${cluster.name}` })
    await requireWal(storage, record, context.signal)
    const plan = await readRestorePlan(storage, record, context.signal)
    const command = restoreCommand(front, settings, cluster.name)
    const targetTimeline = await chooseTimeline(storage, record, context)
    const target = await checkTarget({
      targetDirectory: options.targetDirectory,
      tablespaceMapping: options.tablespaceMapping ?? new Map(),
      tablespaces: record.tablespaces,
      versionDirectory: plan.versionDirectory,
      bytes: plan.bytes,
      tablespaceBytes: plan.tablespaceBytes,
    })
    const { files, bytes, archives } = plan
    context.report({ type: 'restore-planned', id: record.id, files, bytes, archives })
    const pool = new WorkerPool({
      threads: resources.jobs,
      storage: storageOptions(settings, resources),
      graceMs: settings.requestTimeoutMs + 30_000,
    })
    try {
      const choice = { command, targetTimeline, archiveMode: options.archiveMode ?? 'off' }
      await writeCluster(storage, record, plan, target, choice, pool, context)
    } catch (error) {
      await pool.close()
      throw await undone(target, error)
    } finally {
      await pool.close()
    }
    await endRestore(target)
    return {
      backup: record,
      targetDirectory: target.directory,
      bytes,
      seconds: Math.round((performance.now() - began) / 100) / 10,
    }
  } finally {
    storage.close()
  }
}

/** Without all WAL from its start to its stop the backup never becomes consistent: better said before it is written (I11). */
async function requireWal(storage: Storage, record: BackupRecord, signal: AbortSignal): Promise<void> {
  const { cluster, start, stop, walSegmentSize } = record
  const segments = segmentNames(start.timeline, parseLsn(start.lsn), parseLsn(stop.lsn), walSegmentSize)
  await requireWalRange(storage, cluster, { timeline: start.timeline, segments, signal })
}

async function writeCluster(
  storage: Storage,
  record: BackupRecord,
  plan: RestorePlan,
  target: RestoreTarget,
  choice: Omit<RecoveryChoice, 'setOwner'>,
  pool: WorkerPool,
  context: CommandContext,
): Promise<void> {
  const { signal, report } = context
  const setOwner = process.getuid?.() === 0
  await makeDirectories(target, plan.directories, setOwner)
  let files = 0
  const stopTelling = reportProgress(pool, 'restore', plan.bytes, report)
  try {
    for await (const result of pool.run(extractJobs(storage, record, plan, target, setOwner, signal), signal)) {
      if (result.kind !== 'extracted') continue
      files += result.files
      report({ type: 'archive-extracted', key: result.key, files: result.files, bytes: result.bytes })
    }
  } finally {
    stopTelling()
  }
  if (files !== plan.files) throw new ToolError('damaged', `${files} files were written instead of ${plan.files}`)
  await writeSmallFiles(storage, record, plan, target, { ...choice, setOwner }, context)
  report({ type: 'step', message: 'syncing to disk' })
  report({ type: 'restore-synced', files: await syncTarget(target, context) })
  const named = join(target.directory, 'global/pg_control')
  await rename(join(target.directory, UNNAMED_CONTROL), named).catch((cause: unknown) => {
    throw new ToolError('file-system', `could not make "${named}": ${reasonOf(cause)}`, { cause })
  })
}

/**
 * From here on a server can start on it, and may have been started: nothing undoes the restore any more (R6). The marker
 * goes only now, so that at no time another restore takes the directory for an abandoned one.
 */
async function endRestore({ directory }: RestoreTarget): Promise<void> {
  try {
    await syncDirectory(join(directory, 'global'))
    await removeMarker(directory)
    await syncDirectory(directory)
  } catch (cause) {
    throw new ToolError(
      'file-system',
      `all of "${directory}" is restored, but not synced to disk: ${reasonOf(cause)}`,
      {
        cause,
        hint: 'It was left as it is. It can be used once "sync" has succeeded on this host.',
      },
    )
  }
}

/** Jobs, one an archive, as the index is read; paths and offsets were checked when the plan was made. */
async function* extractJobs(
  storage: Storage,
  record: BackupRecord,
  plan: RestorePlan,
  target: RestoreTarget,
  setOwner: boolean,
  signal: AbortSignal,
): AsyncGenerator<ExtractJob> {
  for await (const { archive, files } of plan.readArchives(storage, signal)) {
    const key = archiveKey(record.cluster, record.id, archive)
    yield {
      kind: 'extract',
      archive,
      key,
      targetDirectory: Buffer.from(target.directory).toString('latin1'),
      files: files.map((file) => (file.path === 'global/pg_control' ? { ...file, path: UNNAMED_CONTROL } : file)),
      checksumAlgorithm: record.checksumAlgorithm,
      setOwner,
      // pg_control ends in its own CRC32C, so that every valid one has the same: only the object's hash tells them apart
      sha256: files.some(({ path }) => path === 'global/pg_control') ? plan.hashes.get(basename(key)) : undefined,
    }
  }
}

/** The error of the restore, once the target is as it was; or both errors where even that failed. */
async function undone(target: RestoreTarget, error: unknown): Promise<unknown> {
  try {
    await undoRestore(target)
    return error
  } catch (undoError) {
    return new ToolError(
      'file-system',
      `the restore failed (${reasonOf(error)}), and "${target.directory}" could not be cleaned: ${reasonOf(undoError)}`,
      { cause: error },
    )
  }
}
