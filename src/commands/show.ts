/** One backup, whole: its record, its objects, and what it found wrong with its source. */
import type { Settings } from '../config/settings.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { findBackup } from '../repository/catalog.js'
import { findCluster } from '../repository/clusters.js'
import { basePrefix, OBJECTS_INDEX } from '../repository/layout.js'
import { readObjectsIndex, type ObjectsIndexLine } from '../repository/objects-index.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToRead } from './open-repository.js'

/** Everything known of a backup. */
export interface ShownBackup {
  record: BackupRecord
  /** The lines of its index of objects. */
  objects: ObjectsIndexLine[]
}

/** Shows a backup by id, the unique beginning of one, label, or `latest`. */
export async function show(settings: Settings, backup: string, context: CommandContext): Promise<ShownBackup> {
  const { storage } = await openToRead(settings)
  try {
    const cluster = await findCluster(storage, settings.cluster, context.signal)
    const record = await findBackup(storage, cluster.name, backup, warnOfUnreadable(context), context.signal)
    const key = basePrefix(cluster.name, record.id) + OBJECTS_INDEX
    return { record, objects: await readObjectsIndex(storage, key, record.objects.sha256, context.signal) }
  } finally {
    storage.close()
  }
}
