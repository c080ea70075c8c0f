/** Everything that retention decides by, read from the store in the one order that is safe. */
import type { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { listBackups, type UnreadableBackup } from './catalog.js'
import type { ClusterIdentity } from './identity.js'
import { backupFolderPrefix, clusterPrefix, isBackupId } from './layout.js'
import { readPins } from './pins.js'
import { BACKUP_FOLDERS, readAnnouncements, type Announcement, type BackupFolder } from './retired.js'
import { historiesByTimeline, type RetentionInput } from './retention.js'
import { findInUse, listLastBeats, type BackupInUse, type LastBeat } from './runs.js'
import { findHeads, historiesOf, readTimelineTree, type TimelineTree } from './timeline-tree.js'
import { findUnclean } from './unclean.js'

/** What there is. */
export interface RetentionInventory {
  cluster: ClusterIdentity
  /** By the store's clock. */
  now: Date
  backups: BackupRecord[]
  unreadable: UnreadableBackup[]
  /** Ids of all records, those that cannot be read included. */
  recorded: ReadonlySet<string>
  beats: ReadonlyMap<string, LastBeat>
  inUse: BackupInUse[]
  /** Ids that each folder holds something of. */
  folders: Readonly<Record<BackupFolder, readonly string[]>>
  pinned: ReadonlySet<string>
  unclean: ReadonlySet<string>
  tree: TimelineTree
  heads: RetentionInput['heads']
  announcements: Announcement[]
}

/** Reads it. */
export async function takeInventory(
  storage: Storage,
  cluster: ClusterIdentity,
  now: Date,
  onUnreadableAnnouncement: (key: string, error: ToolError) => void,
  signal?: AbortSignal,
): Promise<RetentionInventory> {
  const { name } = cluster
  // before the records: a backup that is committed meanwhile is then in progress and has a record, and never neither (D6)
  const beats = await listLastBeats(storage, name, signal)
  const folders = {} as Record<BackupFolder, string[]>
  for (const folder of BACKUP_FOLDERS) folders[folder] = await listFolders(storage, name, folder, signal)
  const unreadable: UnreadableBackup[] = []
  const backups = await listBackups(storage, name, (backup) => unreadable.push(backup), signal)
  const recorded = new Set([...backups, ...unreadable].map(({ id }) => id))
  const unrecorded = new Set([...folders.base, ...folders.running].filter((id) => !recorded.has(id)))
  const tree = await readTimelineTree(storage, cluster, signal)
  const heads = await findHeads(storage, cluster, tree, { signal })
  return {
    cluster,
    now,
    backups,
    unreadable,
    recorded,
    beats,
    inUse: await findInUse(storage, name, unrecorded, beats, now, signal),
    folders,
    pinned: new Set((await readPins(storage, name, now, signal)).keys()),
    unclean: await findUnclean(storage, name, backups, signal),
    tree,
    heads: heads.map(({ timeline, last }) => ({ timeline, lastStored: last?.lastModified })),
    announcements: await readAnnouncements(storage, name, onUnreadableAnnouncement, signal),
  }
}

/** What {@link RetentionInput} takes from an inventory. */
export function retentionInput(
  inventory: RetentionInventory,
  policy: RetentionInput['policy'],
  stuck: RetentionInput['stuck'],
): RetentionInput {
  const { now, backups, pinned, unclean, heads, inUse, unreadable, tree, cluster } = inventory
  return {
    ...{ policy, now, backups, pinned, unclean, stuck, heads, inUse },
    histories: historiesByTimeline(historiesOf(tree)),
    unreadableBackups: unreadable.map(({ id }) => id),
    unreadableHistories: tree.unreadable.map(({ timeline }) => timeline),
    walSegmentSize: cluster.walSegmentSize,
  }
}

/** Steps from folder to folder: a request each, however much is in them. What is named like no backup is left alone. */
async function listFolders(
  storage: Storage,
  cluster: string,
  folder: BackupFolder,
  signal?: AbortSignal,
): Promise<string[]> {
  const prefix = `${clusterPrefix(cluster)}${folder}/`
  const ids: string[] = []
  for (let startAfter: string | undefined = prefix; startAfter !== undefined;) {
    const keys = storage.list(prefix, { startAfter, signal })
    startAfter = undefined
    for await (const { key } of keys) {
      const [id = '', ...rest] = key.slice(prefix.length).split('/')
      if (rest.length > 0 && isBackupId(id)) ids.push(id)
      // '0' follows '/' in the order of bytes
      startAfter = rest.length > 0 ? `${backupFolderPrefix(cluster, folder, id).slice(0, -1)}0` : key
      break
    }
  }
  return ids
}
