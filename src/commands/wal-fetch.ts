/**
 * Fetch one WAL file: what restore_command calls, through the shell front.
 *
 * Success: the file is in place, whole and verified. ToolError `not-in-archive`: it is definitely absent. Everything
 * else is a failure that PostgreSQL must not take for the end of WAL (G1).
 */
import { resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import { findCluster } from '../repository/clusters.js'
import { readIdentity, type ClusterIdentity } from '../repository/identity.js'
import { clusterName, parseClusterName } from '../repository/layout.js'
import { fetchWalFile } from '../repository/wal-fetch.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { localCluster } from './local-cluster.js'
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
  const { storage } = await openToRead(settings)
  try {
    const cluster = await identify(storage, settings, context.signal)
    await fetchWalFile(storage, cluster, file, resolve(destination), context.signal)
  } finally {
    storage.close()
  }
}

/** The cluster that is named, else the one whose data directory we run in. */
async function identify(storage: Storage, settings: Settings, signal: AbortSignal): Promise<ClusterIdentity> {
  if (settings.cluster !== undefined) {
    if (parseClusterName(settings.cluster)) return readIdentity(storage, settings.cluster, signal)
    return findCluster(storage, settings.cluster, signal)
  }
  const { major, systemIdentifier } = await localCluster(settings.pgdata ?? process.cwd())
  return readIdentity(storage, clusterName(major, systemIdentifier), signal)
}
