/** The backups of a repository, cluster by cluster, and those that are in progress or wait to be finished. */
import type { Settings } from '../config/settings.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listBackups, type OnUnreadable } from '../repository/catalog.js'
import { findCluster, listClusters } from '../repository/clusters.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { findInUse, listLastBeats, type BackupInUse } from '../repository/runs.js'
import type { Storage } from '../storage/storage.js'
import { storeNow } from '../storage/store-clock.js'
import { findHeads } from '../repository/timeline-tree.js'
import { readMarks, type ListedPin, type ListedProof } from './backup-marks.js'
import type { CommandContext } from './context.js'
import { listHead, readTree } from './heads.js'
import { backupFilter, type ListOptions } from './list-filter.js'
import { openToRead } from './open-repository.js'
import { outlookOf, type ListedOutlook } from './retention-outlook.js'
import type { ListedHead } from './heads.js'

/** Backups of one cluster, oldest first. */
export interface ClusterBackups {
  cluster: ClusterIdentity
  /** RFC 3339 in UTC, by the store's clock: ages are reckoned from it. */
  time: string
  backups: BackupRecord[]
  /** Pins that hold. */
  pins: ListedPin[]
  /** What the newest look at a backup found. */
  proofs: ListedProof[]
  /** Backups that are none yet, whatever the filter. */
  inProgress: ListedRun[]
  /** Timelines on which recovery may end: with more than one it needs --target-timeline (format rule 9). */
  heads: ListedHead[]
  /** What the next `expire` would do with them by the policy of these settings; null where they hold none. */
  retention: ListedOutlook[] | null
  /** Records that cannot be used. */
  unreadable: { id: string; reason: string }[]
}

/** A backup that has no record. `unfinished`: `backup --finalize` can commit it once its WAL is archived (E6). */
export type ListedRun = Pick<BackupInUse, 'id' | 'state'>

/** Lists the backups of the named cluster, or of all. */
export async function list(
  settings: Settings,
  options: ListOptions,
  context: CommandContext,
): Promise<ClusterBackups[]> {
  const filter = backupFilter(options)
  const { storage } = await openToRead(settings)
  try {
    const { signal } = context
    const clusters =
      settings.cluster === undefined
        ? await listClusters(storage, signal)
        : [await findCluster(storage, settings.cluster, signal)]
    const now = await storeNow(storage, signal)
    const result: ClusterBackups[] = []
    for (const cluster of clusters) {
      result.push(await listCluster(storage, cluster, { filter, policy: settings.retention, now, context }))
    }
    return result
  } finally {
    storage.close()
  }
}

async function listCluster(
  storage: Storage,
  cluster: ClusterIdentity,
  {
    filter,
    policy,
    now,
    context,
  }: {
    filter: ReturnType<typeof backupFilter>
    policy: Settings['retention']
    now: Date
    context: CommandContext
  },
): Promise<ClusterBackups> {
  const { signal } = context
  const unreadable: ClusterBackups['unreadable'] = []
  const note: OnUnreadable = ({ id, error }) => unreadable.push({ id, reason: error.message })
  // heartbeats before records: one that is committed in between is then not missed in both
  const beats = await listLastBeats(storage, cluster.name, signal)
  const records = await listBackups(storage, cluster.name, note, signal)
  const known = new Set([...records, ...unreadable].map(({ id }) => id))
  const others = [...beats.keys()].filter((id) => !known.has(id))
  const inUse = await findInUse(storage, cluster.name, others, beats, now, signal)
  const backups = filter(records)
  const wanted = new Set(backups.map(({ id }) => id))
  const marks = await readMarks(storage, cluster.name, now, context)
  const tree = await readTree(storage, cluster, context)
  const heads = await findHeads(storage, cluster, tree, { signal })
  // the filter says what is shown, not what is decided by
  const outlook = outlookOf({ policy, now, marks }, { backups: records, tree, heads })
  return {
    cluster,
    time: now.toISOString(),
    backups,
    pins: marks.pins.filter(({ id }) => wanted.has(id)),
    proofs: marks.proofs.filter(({ id }) => wanted.has(id)),
    inProgress: inUse.map(({ id, state }) => ({ id, state })),
    heads: heads.map(listHead),
    retention: outlook?.filter(({ id }) => wanted.has(id)) ?? null,
    unreadable,
  }
}
