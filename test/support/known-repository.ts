/** Repositories that hold records and nothing else: enough for everything that ends before it reads a backup. */
import { parseLsn } from '#src/postgres/lsn.js'
import { segmentName, segmentNumberAt } from '#src/postgres/wal-segment.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
import { commitBackup } from '#src/repository/backup-record.js'
import { documentHead } from '#src/repository/document.js'
import { claimIdentity } from '#src/repository/identity.js'
import { clusterName } from '#src/repository/layout.js'
import type { Storage } from '#src/storage/storage.js'

/** Commits a record that looks like one of a real backup. */
export async function commitRecord(
  storage: Storage,
  facts: {
    id: string
    label?: string
    systemIdentifier?: bigint
    alias?: string
    stopTime?: string
    timeline?: number
    startLsn?: string
  },
): Promise<BackupRecord> {
  const { id, label = 'pgsluice', systemIdentifier = 7_412_345_678_901_234_567n, alias, stopTime, timeline = 1 } = facts
  const { startLsn: lsn = '0/2000028' } = facts
  await claimIdentity(storage, { major: 18, systemIdentifier, walSegmentSize: 2 ** 24, alias })
  const segment = segmentName(timeline, segmentNumberAt(parseLsn(lsn), 2 ** 24), 2 ** 24)
  const point = { lsn, timeline, segment, time: '2026-01-01T00:00:00.000Z' }
  const sha256 = '0'.repeat(64)
  const record: BackupRecord = {
    ...documentHead(),
    tool: 'pgsluice 0.0.0',
    id,
    label,
    type: 'full',
    cluster: clusterName(18, systemIdentifier),
    postgresVersion: 180_004,
    catalogVersion: 202_506_291,
    walSegmentSize: 2 ** 24,
    blockSize: 8192,
    dataChecksums: true,
    fromStandby: false,
    checksumAlgorithm: 'CRC32C',
    start: { ...point, checkpointLsn: lsn },
    stop: { ...point, time: stopTime ?? point.time },
    tablespaces: [],
    objects: { sha256, count: 1, bytes: 1 },
    files: { sha256, count: 1 },
    totals: { bytes: 1, storedBytes: 1, seconds: 1, pageErrors: 0, vanishedFiles: 0, skippedFiles: 0 },
    parent: null,
    uses: {},
  }
  await commitBackup(storage, record)
  return record
}
