/**
 * Restore a base backup into a data directory, ready to recover to a target.
 *
 * Decide what to use, check everything, extract in parallel, verify while writing, settle the recovery, sync, and give pg_control its name
 * last: a restore that was killed cannot be started (R6).
 */
import { rename } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import type { ExtractJob } from '../archive/jobs.js'
import { planResources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { findCluster } from '../repository/clusters.js'
import { archiveKey } from '../repository/layout.js'
import type { Storage } from '../storage/storage.js'
import { syncDirectory } from '../streams/write-file-durably.js'
import { WorkerPool } from '../workers/pool.js'
import type { CommandContext } from './context.js'
import { followRate } from './follow-rate.js'
import { openToRead, storageOptions } from './open-repository.js'
import { reportProgress } from './progress.js'
import { planRecovery, type RecoveryPlan, type RecoveryRequest } from './recovery-plan.js'
import { recoveryRequest, type RecoveryOptions } from './recovery-request.js'
import { writeSmallFiles, type RecoveryChoice } from './restore-files.js'
import { readRestorePlan, type RestorePlan } from './restore-plan.js'
import { undoConfiguration, writeConfiguration, type ConfigurationPlan } from './restore-configuration.js'
import { externalConfiguration, type RestoredConfiguration } from './restore-external.js'
import { findFront, restoreCommand } from './restore-command.js'
import { removeMarker } from './restore-marker.js'
import { checkTarget, makeDirectories, UNNAMED_CONTROL, undoRestore } from './restore-target.js'
import type { RestoreTarget } from './restore-target.js'
import { syncTarget } from './sync-tree.js'

/** Options of {@link restore}. */
export interface RestoreOptions extends RecoveryOptions {
  /** What the server does at the target. Default `promote`. */
  targetAction?: 'pause' | 'promote' | 'shutdown' | undefined
  /** The server stays a standby, which follows the archive, and its primary where `primaryConninfo` names it. */
  standby?: boolean | undefined
  primaryConninfo?: string | undefined
  /** The copy can do no harm: it archives nothing, subscribes to nothing and runs no jobs. */
  isolated?: boolean | undefined
  /** Empty, or not there yet. */
  targetDirectory: string
  /** Where configuration files go that lay outside the data directory: empty, or not there yet. */
  configDirectory?: string | undefined
  /** Old location of a tablespace to its new one. */
  tablespaceMapping?: ReadonlyMap<string, string> | undefined
  /** `off`: the restored server archives nothing until told otherwise (A12). Default `off`, of a standby `preserve`. */
  archiveMode?: 'off' | 'preserve' | undefined
}

/** What was restored. */
export interface RestoreResult {
  backup: BackupRecord
  /** The timeline that recovery ends on. */
  timeline: number
  archiveMode: 'off' | 'preserve'
  targetDirectory: string
  /** Null without `configDirectory`. */
  configuration: RestoredConfiguration | null
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
  const request = recoveryRequest(options)
  checkTogether(options)
  const front = findFront()
  const resources = planResources(settings, availableParallelism())
  const { rate, stop } = followRate(settings, context)
  try {
    const pool = new WorkerPool({
      threads: resources.jobs,
      storage: storageOptions(settings, resources, rate),
      graceMs: settings.requestTimeoutMs + 30_000,
    })
    try {
      // they load while the restore is planned
      pool.start()
      const { storage } = await openToRead(settings, rate)
      try {
        return await restoreFrom(storage, pool, { settings, options, request, front, began }, context)
      } finally {
        storage.close()
      }
    } finally {
      await pool.close()
    }
  } finally {
    stop()
  }
}

/** What a restore was asked for. */
interface RestoreRun {
  settings: Settings
  options: RestoreOptions
  request: RecoveryRequest
  front: string
  began: number
}

async function restoreFrom(
  storage: Storage,
  pool: WorkerPool,
  { settings, options, request, front, began }: RestoreRun,
  context: CommandContext,
): Promise<RestoreResult> {
  const cluster = await findCluster(storage, settings.cluster, context.signal)
  const recovery = await planRecovery(storage, cluster, request, context)
  const { backup: record } = recovery
  context.report({ type: 'step', message: `restoring backup ${record.id} of ${cluster.name}` })
  const plan = await readRestorePlan(storage, record, context.signal)
  const target = await checkTarget({
    targetDirectory: options.targetDirectory,
    tablespaceMapping: options.tablespaceMapping ?? new Map(),
    tablespaces: record.tablespaces,
    versionDirectory: plan.versionDirectory,
    bytes: plan.bytes,
    tablespaceBytes: plan.tablespaceBytes,
  })
  const configuration = await externalConfiguration(storage, record, plan, target, options.configDirectory, context)
  const { files, bytes, archives } = plan
  context.report({ type: 'restore-planned', id: record.id, files, bytes, archives })
  try {
    const command = restoreCommand(front, settings, cluster.name)
    const choice = { ...recoveryChoice(options, recovery, command), external: configuration?.external }
    await writeCluster(storage, record, plan, target, choice, pool, context)
    if (configuration) await writeConfiguration(configuration.plan, target)
    await nameControl(target)
  } catch (error) {
    // nothing may write there any more
    await pool.close()
    throw await undone(target, configuration?.plan, error)
  }
  await endRestore(target)
  return {
    backup: record,
    timeline: recovery.timeline,
    archiveMode: archiveModeOf(options),
    targetDirectory: target.directory,
    configuration: configuration?.result ?? null,
    bytes,
    seconds: Math.round((performance.now() - began) / 100) / 10,
  }
}

function checkTogether({ target = {}, standby, primaryConninfo, isolated, archiveMode }: RestoreOptions): void {
  const refuse = (message: string): never => {
    throw new ToolError('usage', message)
  }
  if (standby && Object.values(target).some((value) => value !== undefined))
    refuse('a standby has no recovery target: it goes on until it is promoted')
  if (primaryConninfo !== undefined && !standby) refuse('only a standby has a primary_conninfo')
  if (isolated && standby) refuse('a standby follows its source, and cannot be isolated from it')
  if (isolated && archiveMode === 'preserve') refuse('an isolated copy does not archive')
}

/** A promoted standby is its cluster's next primary, and has to archive; any other copy must not, unless told to (A12). */
function archiveModeOf({ archiveMode, standby }: RestoreOptions): 'off' | 'preserve' {
  return archiveMode ?? (standby ? 'preserve' : 'off')
}

function recoveryChoice(
  options: RestoreOptions,
  { target, timeline, latest, backup }: RecoveryPlan,
  command: string,
): Omit<RecoveryChoice, 'setOwner' | 'external'> {
  const { targetAction = 'promote', standby = false, isolated = false, primaryConninfo } = options
  // its own needs no history file, and may have none in the archive (I8); a standby goes on with timelines to come
  const own = timeline === backup.stop.timeline ? 'current' : timeline
  const targetTimeline = standby && latest === timeline ? 'latest' : own
  const archiveMode = archiveModeOf(options)
  return { command, target, targetTimeline, action: targetAction, standby, primaryConninfo, isolated, archiveMode }
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
  const stopTelling = reportProgress('restore', () => ({ doneBytes: pool.doneBytes, totalBytes: plan.bytes }), report)
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
}

/** Last of all: now it is a data directory (R6). */
async function nameControl(target: RestoreTarget): Promise<void> {
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
      storedBytes: plan.sizes.get(basename(key)) ?? 0, // an archive that the index of objects does not name is read as a stream
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
async function undone(
  target: RestoreTarget,
  configuration: ConfigurationPlan | undefined,
  error: unknown,
): Promise<unknown> {
  try {
    if (configuration) await undoConfiguration(configuration)
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
