/** The backups of a repository, cluster by cluster. */
import type { Settings } from '../config/settings.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listBackups, type OnUnreadable } from '../repository/catalog.js'
import { findCluster, listClusters } from '../repository/clusters.js'
import type { ClusterIdentity } from '../repository/identity.js'
import type { CommandContext } from './context.js'
import { listHeads } from './heads.js'
import { openToRead } from './open-repository.js'
import type { ListedHead } from './wal-list.js'

/** Backups of one cluster, oldest first. */
export interface ClusterBackups {
  cluster: ClusterIdentity
  backups: BackupRecord[]
  /** Timelines on which recovery may end: with more than one it needs --target-timeline (format rule 9). */
  heads: ListedHead[]
  /** Records that cannot be used. */
  unreadable: { id: string; reason: string }[]
}

/** Lists the backups of the named cluster, or of all. */
export async function list(settings: Settings, context: CommandContext): Promise<ClusterBackups[]> {
  const { storage } = await openToRead(settings)
  try {
    const { signal } = context
    const clusters =
      settings.cluster === undefined
        ? await listClusters(storage, signal)
        : [await findCluster(storage, settings.cluster, signal)]
    const result: ClusterBackups[] = []
    for (const cluster of clusters) {
      const unreadable: ClusterBackups['unreadable'] = []
      const note: OnUnreadable = ({ id, error }) => unreadable.push({ id, reason: error.message })
      const backups = await listBackups(storage, cluster.name, note, signal)
      result.push({ cluster, backups, heads: await listHeads(storage, cluster, context), unreadable })
    }
    return result
  } finally {
    storage.close()
  }
}
