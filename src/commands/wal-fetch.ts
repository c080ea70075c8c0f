/**
 * Fetch one WAL file: what restore_command calls, through the shell front.
 *
 * Success: the file is in place, whole and verified. ToolError `not-in-archive`: it is definitely absent. Everything
 * else is a failure that PostgreSQL must not take for the end of WAL (G1).
 */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { systemErrorCode, ToolError } from '../errors.js'
import { parseBackupLabel } from '../postgres/backup-label.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import { findCluster } from '../repository/clusters.js'
import { readIdentity, type ClusterIdentity } from '../repository/identity.js'
import { clusterName, parseClusterName } from '../repository/layout.js'
import { fetchWalFile } from '../repository/wal-fetch.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { localCluster, localDirectory, type LocalCluster } from './local-cluster.js'
import { openToRead } from './open-repository.js'

/** Fetches WAL file `name` to `destination` (`%f` and `%p`: the latter relative to PGDATA). */
export async function walFetch(
  settings: Settings,
  name: string,
  destination: string,
  context: CommandContext,
): Promise<void> {
  const file = parseWalFileName(name)
  if (!file) {
    throw new ToolError('usage', `"${name}" is not the name of a WAL file`, {
      hint: 'Expected what restore_command passes with %f.',
    })
  }
  const local = await findLocal(settings)
  const { storage } = await openToRead(settings)
  try {
    const cluster = await identify(storage, settings, local, context.signal)
    const ownTimeline = local && file.kind === 'history' ? await timelineOf(local) : undefined
    await fetchWalFile(storage, cluster, file, resolve(destination), { ownTimeline, signal: context.signal })
  } finally {
    storage.close()
  }
}

/** The cluster whose data directory we run in; where we run in none, and none is named, the one of the settings. */
async function findLocal(settings: Settings): Promise<LocalCluster | undefined> {
  const directory = await localDirectory([process.cwd()])
  if (directory === undefined && settings.cluster !== undefined) return undefined
  return localCluster(directory ?? settings.pgdata ?? process.cwd())
}

/** The cluster that is named, else the local one. Throws ToolError `refused` where both are known and differ. */
async function identify(
  storage: Storage,
  settings: Settings,
  local: LocalCluster | undefined,
  signal: AbortSignal,
): Promise<ClusterIdentity> {
  const named = settings.cluster
  if (local && named === undefined) {
    return readIdentity(storage, clusterName(local.major, local.systemIdentifier), signal)
  }
  const cluster =
    named !== undefined && parseClusterName(named)
      ? await readIdentity(storage, named, signal)
      : await findCluster(storage, named, signal)
  if (local && cluster.systemIdentifier !== String(local.systemIdentifier)) {
    throw new ToolError(
      'refused',
      `cluster "${cluster.name}" is named, but "${local.directory}" has the system identifier ${local.systemIdentifier}`,
      {
        hint: 'Leave --cluster (and "cluster" in the configuration) away: the data directory says which cluster it is.',
      },
    )
  }
  return cluster
}

/** The timeline that recovery of this directory begins on: the backup's until it has begun, then that of its last checkpoint. */
async function timelineOf(local: LocalCluster): Promise<number> {
  try {
    return parseBackupLabel(await readFile(`${local.directory}/backup_label`)).startTimeline
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return local.checkpointTimeline
    throw error
  }
}
