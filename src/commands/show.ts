/** One backup, whole: its record, its objects, its WAL, and what was found wrong with it or said of it since. */
import type { Settings } from '../config/settings.js'
import { parseLsn } from '../postgres/lsn.js'
import { segmentNames, segmentNumberAt } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { findBackup } from '../repository/catalog.js'
import { findCluster } from '../repository/clusters.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { basePrefix, OBJECTS_INDEX } from '../repository/layout.js'
import { readObjectsIndex, type ObjectsIndexLine } from '../repository/objects-index.js'
import { listRanges } from '../repository/wal-map.js'
import type { Storage } from '../storage/storage.js'
import { storeNow } from '../storage/store-clock.js'
import { readMarks, type ListedPin, type ListedProof } from './backup-marks.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToRead } from './open-repository.js'
import { readOutlook, type ListedOutlook } from './retention-outlook.js'

/** Everything known of a backup. */
export interface ShownBackup {
  record: BackupRecord
  /** The lines of its index of objects. */
  objects: ObjectsIndexLine[]
  /** RFC 3339 in UTC, by the store's clock: ages are reckoned from it. */
  time: string
  wal: ShownWal
  pin: ListedPin | null
  /** What the newest look at it found. */
  proof: ListedProof | null
  /** What the next `expire` would do with it by the policy of these settings; null where they hold none. */
  retention: ListedOutlook | null
}

/** The WAL from start to stop, without which the backup is none. */
export interface ShownWal {
  /** Segments needed, and their bytes. */
  segments: number
  bytes: number
  /** Those that are in the archive, and their bytes there. */
  storedSegments: number
  storedBytes: number
}

/** Shows a backup by id, the unique beginning of one, label, or `latest`. */
export async function show(settings: Settings, backup: string, context: CommandContext): Promise<ShownBackup> {
  const { signal } = context
  const { storage } = await openToRead(settings)
  try {
    const cluster = await findCluster(storage, settings.cluster, signal)
    const record = await findBackup(storage, cluster.name, backup, warnOfUnreadable(context), signal)
    const now = await storeNow(storage, signal)
    const key = basePrefix(cluster.name, record.id) + OBJECTS_INDEX
    const objects = await readObjectsIndex(storage, key, record.objects.sha256, signal)
    const marks = await readMarks(storage, cluster.name, now, context)
    const outlook = await readOutlook(storage, cluster, { policy: settings.retention, now, marks }, context)
    const isOf = ({ id }: { id: string }): boolean => id === record.id
    return {
      record,
      objects,
      time: now.toISOString(),
      wal: await walOf(storage, cluster, record, signal),
      pin: marks.pins.find(isOf) ?? null,
      proof: marks.proofs.find(isOf) ?? null,
      retention: outlook?.find(isOf) ?? null,
    }
  } finally {
    storage.close()
  }
}

async function walOf(
  storage: Storage,
  cluster: ClusterIdentity,
  { start, stop, walSegmentSize }: BackupRecord,
  signal: AbortSignal,
): Promise<ShownWal> {
  const [startLsn, stopLsn] = [parseLsn(start.lsn), parseLsn(stop.lsn)]
  const segments = segmentNames(start.timeline, startLsn, stopLsn, walSegmentSize).length
  const from = segmentNumberAt(startLsn, walSegmentSize)
  const to = from + BigInt(segments) - 1n
  const ranges = await listRanges(storage, cluster, start.timeline, { from, to, signal })
  return {
    segments,
    bytes: segments * walSegmentSize,
    storedSegments: ranges.reduce((sum, range) => sum + range.segments, 0),
    storedBytes: ranges.reduce((sum, range) => sum + range.storedBytes, 0),
  }
}
