/** Which cluster of the repository a status is about. */
import type { Settings } from '../config/settings.js'
import { NotFoundError, ToolError } from '../errors.js'
import { findCluster } from '../repository/clusters.js'
import { readIdentity, type ClusterFacts, type ClusterIdentity } from '../repository/identity.js'
import { clusterName } from '../repository/layout.js'
import type { Storage } from '../storage/storage.js'
import { localCluster, localDirectory } from './local-cluster.js'

/** The server's; undefined where nothing of it is stored. Throws ToolError `refused` where another one is named. */
export async function clusterOf(
  storage: Storage,
  settings: Settings,
  facts: ClusterFacts,
  signal: AbortSignal,
): Promise<ClusterIdentity | undefined> {
  if (settings.cluster !== undefined) {
    const named = await findCluster(storage, settings.cluster, signal)
    if (named.systemIdentifier !== String(facts.systemIdentifier) || named.postgresMajor !== facts.major) {
      throw new ToolError(
        'refused',
        `cluster "${named.name}" is named, but the server has the system identifier ${facts.systemIdentifier}`,
        { hint: 'Leave --cluster away, or say --offline to look at that cluster without its server.' },
      )
    }
  }
  try {
    return await readIdentity(storage, clusterName(facts.major, facts.systemIdentifier), signal)
  } catch (error) {
    if (error instanceof NotFoundError) return undefined
    throw error
  }
}

/** The one that is named, else that of the data directory, else the only one. */
export async function offlineCluster(
  storage: Storage,
  settings: Settings,
  signal: AbortSignal,
): Promise<ClusterIdentity> {
  const { cluster, pgdata } = settings
  const directory = cluster === undefined && pgdata !== undefined ? await localDirectory([pgdata]) : undefined
  if (directory === undefined) return findCluster(storage, cluster, signal)
  const { major, systemIdentifier } = await localCluster(directory)
  return findCluster(storage, clusterName(major, systemIdentifier), signal)
}
