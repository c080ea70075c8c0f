/** The clusters that share a repository, and which of them is meant. */
import { NotFoundError, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { readBackupRecord } from './backup-record.js'
import { listBackupIds } from './catalog.js'
import { readIdentity, type ClusterIdentity } from './identity.js'
import { parseClusterName } from './layout.js'

/** Clusters of a repository: every sub-prefix with a `cluster.json`. */
export async function listClusters(storage: Storage, signal?: AbortSignal): Promise<ClusterIdentity[]> {
  const clusters: ClusterIdentity[] = []
  for await (const name of clusterNames(storage, signal)) {
    try {
      clusters.push(await withAlias(storage, await readIdentity(storage, name, signal), signal))
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error
    }
  }
  return clusters
}

/** Sub-prefixes that are named like a cluster, whether or not something says that they are one. */
export async function* clusterNames(storage: Storage, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
  let startAfter = ''
  // one page a cluster: skip from each sub-prefix to the next rather than list all of its objects
  for (;;) {
    const next = await firstKey(storage, startAfter, signal)
    if (next === undefined) return
    const folder = next.slice(0, next.indexOf('/') + 1)
    const name = folder.slice(0, -1)
    if (parseClusterName(name)) yield name
    startAfter = folder === '' ? next : `${name}0` // '0' follows '/' in the order of bytes
  }
}

async function firstKey(storage: Storage, startAfter: string, signal?: AbortSignal): Promise<string | undefined> {
  for await (const { key } of storage.list('', { ...(startAfter && { startAfter }), signal })) return key
  return undefined
}

/** WAL is pushed without asking the server, so the alias may be known only from the newest backup. */
async function withAlias(storage: Storage, identity: ClusterIdentity, signal?: AbortSignal): Promise<ClusterIdentity> {
  if (identity.alias !== undefined) return identity
  const id = (await listBackupIds(storage, identity.name, signal)).at(-1)
  if (id === undefined) return identity
  try {
    const { alias } = await readBackupRecord(storage, identity.name, id, signal)
    return { ...identity, ...(alias !== undefined && { alias }) }
  } catch (error) {
    // a damaged record (or one deleted meanwhile) is its own command's matter: other backups must stay within reach
    if (error instanceof NotFoundError || (error instanceof ToolError && error.code === 'damaged')) return identity
    throw error
  }
}

/** Finds a cluster by name or alias; where none is named, the only one. Throws ToolError `usage` with the candidates. */
export async function findCluster(
  storage: Storage,
  named: string | undefined,
  signal?: AbortSignal,
): Promise<ClusterIdentity> {
  if (named !== undefined && parseClusterName(named)) {
    // by its own name it is found without a look at the others, one of which may be damaged
    const identity = await readIdentity(storage, named, signal).catch((error: unknown) => {
      if (error instanceof NotFoundError) return undefined
      throw error
    })
    if (identity) return withAlias(storage, identity, signal)
  }
  const clusters = await listClusters(storage, signal)
  const matching =
    named === undefined ? clusters : clusters.filter(({ name, alias }) => name === named || alias === named)
  const [only] = matching
  if (only && matching.length === 1) return only
  const candidates = clusters.map(({ name, alias }) => (alias ? `${name} (${alias})` : name)).join(', ')
  if (clusters.length === 0) throw new ToolError('usage', `no cluster is stored in "${storage.url}"`)
  if (named === undefined) {
    throw new ToolError('usage', `"${storage.url}" holds ${clusters.length} clusters`, {
      hint: `Name one with --cluster: ${candidates}.`,
    })
  }
  throw new ToolError(
    'usage',
    `${matching.length === 0 ? 'no cluster' : 'more than one cluster'} in "${storage.url}" is named "${named}"`,
    {
      hint: `There are: ${candidates}.`,
    },
  )
}
