/** The record of a backup, from everything that was learnt while it was taken. */
import type { Settings } from '../config/settings.js'
import { formatLsn } from '../postgres/lsn.js'
import type { StartedBackup, StoppedBackup } from '../postgres/session/backup-session.js'
import { segmentNames } from '../postgres/wal-segment.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { documentHead } from '../repository/document.js'
import type { Copied, Inventory } from './backup-copy.js'
import type { Indexes } from './backup-indexes.js'
import type { BackupSource } from './backup-source.js'
import { TOOL } from './version.js'

/** A backup that has been stopped. */
export interface FinishedBackup {
  id: string
  label: string
  /** Name of the cluster in the repository. */
  cluster: string
  source: BackupSource
  started: StartedBackup
  /** LSN of the checkpoint that starts recovery, from the backup label. */
  checkpointLsn: bigint
  inventory: Inventory
  copied: Copied
  stopped: StoppedBackup
  /** Configuration files as the server names them (W8). */
  configFiles: readonly string[]
}

/** Names of all WAL segments that the backup needs, ascending; at least one. */
export function neededSegments({ source, started, stopped }: FinishedBackup): string[] {
  return segmentNames(started.timeline, started.startLsn, stopped.stopLsn, source.server.walSegmentSize)
}

/** The record that commits the backup. */
export function makeRecord(
  backup: FinishedBackup,
  indexes: Indexes,
  options: Pick<Settings, 'checksum'> & { seconds: number },
): BackupRecord {
  const { source, started, stopped, inventory, copied } = backup
  const { server } = source
  const { timeline } = started
  const segments = neededSegments(backup)
  return {
    ...documentHead(),
    tool: TOOL,
    id: backup.id,
    label: backup.label,
    type: 'full',
    cluster: backup.cluster,
    postgresVersion: server.versionNum,
    catalogVersion: server.catalogVersion,
    walSegmentSize: server.walSegmentSize,
    blockSize: server.blockSize,
    dataChecksums: server.dataChecksums,
    fromStandby: false,
    checksumAlgorithm: options.checksum,
    start: {
      lsn: formatLsn(started.startLsn),
      checkpointLsn: formatLsn(backup.checkpointLsn),
      timeline,
      segment: segments[0] ?? '',
      time: started.startTime.toISOString(),
    },
    stop: {
      lsn: formatLsn(stopped.stopLsn),
      timeline,
      segment: segments.at(-1) ?? '',
      time: stopped.stopTime.toISOString(),
    },
    tablespaces: inventory.tablespaces.map(({ path, target }) => ({
      oid: Number(path.toString('latin1').split('/')[1]),
      location: target?.toString() ?? path.toString(),
      ...(target === undefined && { inPlace: true as const }),
    })),
    objects: { sha256: indexes.objects.sha256, count: indexes.objects.count, bytes: indexes.storedBytes },
    files: { sha256: indexes.files.sha256, count: indexes.files.count },
    totals: {
      bytes: inventory.totalBytes,
      storedBytes: indexes.storedBytes,
      seconds: options.seconds,
      pageErrors: copied.pageErrors.reduce((sum, { pages }) => sum + pages, 0),
      vanishedFiles: copied.vanished.length,
      skippedFiles: inventory.skipped.length,
    },
    parent: null,
    uses: {},
  }
}
