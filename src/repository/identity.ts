/**
 * Which cluster a sub-prefix belongs to (A14, O10). Created once, by the first command that writes; read by every
 * command before anything else: it proves bucket, prefix and credentials in one request (G2).
 */
import { NotFoundError, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument, type DocumentHead } from './document.js'
import { clusterKey, clusterName, README_KEY } from './layout.js'
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
