/** The record of a backup, from everything that was learnt while it was taken. */
import type { Settings } from '../config/settings.js'
import { formatLsn } from '../postgres/lsn.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { documentHead } from '../repository/document.js'
import type { Indexes } from './backup-indexes.js'
import { neededSegments, type FinishedBackup } from './finished-backup.js'
import { TOOL } from './version.js'

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
    ...(server.clusterName !== '' && { alias: server.clusterName }),
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
