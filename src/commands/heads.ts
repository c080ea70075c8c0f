/** Timelines on which recovery may end (format rule 9), as commands tell them. */
import type { ClusterIdentity } from '../repository/identity.js'
import { findHeads, readTimelineTree, type TimelineHead, type TimelineTree } from '../repository/timeline-tree.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'

/** A timeline on which recovery may end. */
export interface ListedHead {
  timeline: number
  description: string
  /** Name of its last whole segment, and when that was stored. */
  last?: string
  lastStored?: string
}

/** The timelines of a cluster's archive; a history file that cannot be read is warned of and passed over. */
export async function readTree(
  storage: Storage,
  cluster: ClusterIdentity,
  { report, signal }: CommandContext,
): Promise<TimelineTree> {
  const tree = await readTimelineTree(storage, cluster, signal)
  for (const { timeline, error } of tree.unreadable)
    report({ type: 'warning', message: `timeline ${timeline} is passed over: ${error.message}` })
  return tree
}

/** The heads of a cluster's archive: two or three requests a timeline, however much WAL there is. */
export async function listHeads(
  storage: Storage,
  cluster: ClusterIdentity,
  context: CommandContext,
): Promise<ListedHead[]> {
  const tree = await readTree(storage, cluster, context)
  return (await findHeads(storage, cluster, tree, { signal: context.signal })).map(listHead)
}

/** A head as it is told. */
export function listHead({ timeline, description, last }: TimelineHead): ListedHead {
  return { timeline, description, ...(last && { last: last.name, lastStored: last.lastModified.toISOString() }) }
}
