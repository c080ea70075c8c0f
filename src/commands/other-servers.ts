/**
 * Whether another server with the same system identifier archives to the same place: a restored copy that kept its
 * source's archive_command (A12). Both have the right to that name, so nothing refuses its WAL once it is on a timeline of
 * its own; but from then on nobody can tell any more which timeline is meant (format rule 9).
 */
import type { ClusterIdentity } from '../repository/identity.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { listHeads } from './heads.js'

/** A warning about one of them. */
export interface OtherServer {
  message: string
  hint: string
}

/** One warning for each timeline other than the server's own that has WAL after the two parted. */
export async function findOtherServers(
  storage: Storage,
  cluster: ClusterIdentity,
  timeline: number,
  context: CommandContext,
): Promise<OtherServer[]> {
  const heads = await listHeads(storage, cluster, context)
  return heads.flatMap((head) => {
    // a history file alone is no WAL: a server that has only just been promoted, or one that never wrote
    if (head.timeline === timeline || head.last === undefined) return []
    return [
      {
        message:
          `another server with this system identifier archives here, or did: this one is on timeline ${timeline}, ` +
          `and there is ${head.description}, its newest segment "${head.last}" stored at ${head.lastStored}`,
        hint:
          'If that server is a copy, give it a repository of its own, or set archive_mode = off on it (which "pgsluice ' +
          `restore" does by default). To restore this one say --target-timeline ${timeline}.`,
      },
    ]
  })
}
