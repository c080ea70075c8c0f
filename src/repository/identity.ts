/**
 * Which cluster a sub-prefix belongs to (A14, O10). Created once, by the first command that writes; read by every
 * command before anything else: it proves bucket, prefix and credentials in one request (G2).
 */
import { NotFoundError, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument, type DocumentHead } from './document.js'
import { clusterKey, clusterName, parseClusterName, README_KEY } from './layout.js'
import { README_TEXT } from './readme.js'

/** `cluster.json`. */
export interface ClusterIdentity extends DocumentHead {
  /** The sub-prefix: `pg18-7412345678901234567`. */
  name: string
  /** Decimal text: it does not fit a JSON number. */
  systemIdentifier: string
  postgresMajor: number
  /** Bytes. */
  walSegmentSize: number
  /** The server's cluster_name, if it had one when the repository was made. */
  alias?: string
}

/** Facts that make a cluster what it is. */
export interface ClusterFacts {
  major: number
  systemIdentifier: bigint
  walSegmentSize: number
  alias?: string | undefined
}

/** Reads who a sub-prefix belongs to; rejects with NotFoundError where nothing is there. */
export async function readIdentity(storage: Storage, cluster: string, signal?: AbortSignal): Promise<ClusterIdentity> {
  const key = clusterKey(cluster)
  const document = (await readDocument(storage, key, signal)) as unknown as ClusterIdentity
  if (document.name !== cluster) {
    throw new ToolError('damaged', `"${key}" belongs to cluster "${document.name}", not to "${cluster}"`)
  }
  return document
}

/**
 * Reads the identity of the cluster with those facts, or creates it (and README.txt) at the first use. Throws ToolError
 * `refused` where another cluster lives there.
 */
export async function claimIdentity(
  storage: Storage,
  facts: ClusterFacts,
  signal?: AbortSignal,
): Promise<ClusterIdentity> {
  const name = clusterName(facts.major, facts.systemIdentifier)
  let identity: ClusterIdentity
  try {
    identity = await readIdentity(storage, name, signal)
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error
    await createReadme(storage, signal)
    identity = {
      ...documentHead(),
      name,
      systemIdentifier: String(facts.systemIdentifier),
      postgresMajor: facts.major,
      walSegmentSize: facts.walSegmentSize,
      ...(facts.alias && { alias: facts.alias }),
    }
    try {
      await createObject(storage, clusterKey(name), formatDocument(identity), signal)
    } catch (conflict) {
      // another process of the same cluster was first; whether it is the same cluster is checked below
      if (!(conflict instanceof ToolError) || conflict.code !== 'conflict') throw conflict
      identity = await readIdentity(storage, name, signal)
    }
  }
  checkIdentity(identity, facts)
  return identity
}

function checkIdentity(identity: ClusterIdentity, facts: ClusterFacts): void {
  const same =
    identity.systemIdentifier === String(facts.systemIdentifier) &&
    identity.postgresMajor === facts.major &&
    identity.walSegmentSize === facts.walSegmentSize
  if (same) return
  throw new ToolError(
    'refused',
    `"${clusterKey(identity.name)}" belongs to another cluster (PostgreSQL ${identity.postgresMajor}, ` +
      `system identifier ${identity.systemIdentifier}, WAL segments of ${identity.walSegmentSize} bytes)`,
  )
}

/** The text may differ between versions of this program; the first one stays. */
async function createReadme(storage: Storage, signal?: AbortSignal): Promise<void> {
  if (await storage.head(README_KEY, { signal })) return
  try {
    await createObject(storage, README_KEY, README_TEXT, signal)
  } catch (error) {
    if (!(error instanceof ToolError) || error.code !== 'conflict') throw error
  }
}

/** Clusters of a repository: every sub-prefix with a `cluster.json`. */
export async function listClusters(storage: Storage, signal?: AbortSignal): Promise<ClusterIdentity[]> {
  const clusters: ClusterIdentity[] = []
  let startAfter = ''
  // one page a cluster: skip from each sub-prefix to the next rather than list all of its objects
  for (;;) {
    const next = await firstKey(storage, startAfter, signal)
    if (next === undefined) return clusters
    const folder = next.slice(0, next.indexOf('/') + 1)
    const name = folder.slice(0, -1)
    if (parseClusterName(name)) {
      try {
        clusters.push(await readIdentity(storage, name, signal))
      } catch (error) {
        if (!(error instanceof NotFoundError)) throw error
      }
    }
    startAfter = folder === '' ? next : `${name}0` // '0' follows '/' in the order of bytes
  }
}

async function firstKey(storage: Storage, startAfter: string, signal?: AbortSignal): Promise<string | undefined> {
  for await (const { key } of storage.list('', { ...(startAfter && { startAfter }), signal })) return key
  return undefined
}

/** Finds a cluster by name or alias; where none is named, the only one. Throws ToolError `usage` with the candidates. */
export async function findCluster(
  storage: Storage,
  named: string | undefined,
  signal?: AbortSignal,
): Promise<ClusterIdentity> {
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
