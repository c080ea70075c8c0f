/** Which cluster of the repository a server in recovery asks, from its data directory and the settings. */
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { findCluster } from '../repository/clusters.js'
import { readIdentity, type ClusterIdentity } from '../repository/identity.js'
import { clusterName, parseClusterName } from '../repository/layout.js'
import type { Storage } from '../storage/storage.js'
import { localCluster, localDirectory, type LocalCluster } from './local-cluster.js'

/** Finds it. Throws ToolError `refused` where the named one is not that of the data directory. */
export async function identifyCluster(
  storage: Storage,
  settings: Settings,
  signal: AbortSignal,
): Promise<ClusterIdentity> {
  return identify(storage, settings, await findLocal(settings), signal)
}

/** The cluster whose data directory we run in; where we run in none, and none is named, the one of the settings. */
export async function findLocal(settings: Settings): Promise<LocalCluster | undefined> {
  const directory = await localDirectory([process.cwd()])
  if (directory === undefined && settings.cluster !== undefined) return undefined
  return localCluster(directory ?? settings.pgdata ?? process.cwd())
}

/** The cluster that is named, else the local one. Throws ToolError `refused` where both are known and differ. */
export async function identify(
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
