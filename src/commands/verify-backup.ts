/** Proves one backup at a level; what is wrong is data, and only what kept it from looking is an error. */
import { ToolError } from '../errors.js'
import { readBackupRecord, type BackupRecord } from '../repository/backup-record.js'
import { proveMetadata } from '../repository/backup-proof.js'
import { FaultList } from '../repository/fault-list.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { readIdentity } from '../repository/identity.js'
import { backupRecordKey, clusterKey, parseClusterName } from '../repository/layout.js'
import { documentHead } from '../repository/document.js'
import type { Fault, ProofLevel } from '../repository/proofs.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { verifyContent, type RunJobs } from './verify-content.js'
import { verifyRecoveryWal, verifyWalPresence, type WalReadings } from './verify-recovery-wal.js'

/** What was found. */
export interface BackupFindings {
  /** The record; undefined where it is damaged. */
  record: BackupRecord | undefined
  faults: Fault[]
  /** What is remarkable and no fault. */
  remarks: string[]
}

/** Unreferenced objects that are named one by one. */
const MOST_NAMED = 5

/** Looks at one backup. Rejects only where it could not look. */
export async function verifyBackup(
  storage: Storage,
  cluster: string,
  id: string,
  options: { level: ProofLevel; run: RunJobs; readings: WalReadings },
  context: CommandContext,
): Promise<BackupFindings> {
  const { level, run, readings } = options
  const { signal } = context
  const faults = new FaultList()
  const remarks: string[] = []
  await faults.guard(clusterKey(cluster), () => readIdentity(storage, cluster, signal))
  const record = await readRecord(storage, cluster, id, faults, signal)
  if (!record) return { record, faults: faults.faults, remarks }
  const metadata = await proveMetadata(storage, record, faults, signal)
  const objects = metadata.objects ?? []
  const bytes = objects.reduce((sum, { size }) => sum + size, 0)
  context.report({ type: 'verify-started', id, level, objects: objects.length, bytes })
  const { unreferenced } = metadata
  if (unreferenced.length > 0) {
    const more = unreferenced.length > MOST_NAMED ? ` and ${unreferenced.length - MOST_NAMED} more` : ''
    const names = unreferenced.slice(0, MOST_NAMED).map((key) => `"${key}"`)
    remarks.push(`no part of the backup, and named nowhere: ${names.join(', ')}${more}`)
  }
  if (record.totals.pageErrors > 0)
    remarks.push(`the backup itself found ${record.totals.pageErrors} corrupt pages in its source`)
  const look = { run, readings, signal }
  const identity = identityOf(record)
  await verifyWalPresence(storage, identity, record, faults, look)
  if (level !== 'metadata') await verifyContent(storage, record, metadata, faults, look)
  if (level === 'wal') remarks.push(...(await verifyRecoveryWal(storage, identity, record, faults, look)))
  return { record, faults: faults.faults, remarks }
}

async function readRecord(
  storage: Storage,
  cluster: string,
  id: string,
  faults: FaultList,
  signal: AbortSignal,
): Promise<BackupRecord | undefined> {
  const key = backupRecordKey(cluster, id)
  return faults.guard(key, async () => {
    try {
      return await readBackupRecord(storage, cluster, id, signal)
    } catch (error) {
      // of another format: whoever reads it with this program cannot restore it
      if (error instanceof ToolError && error.code === 'configuration')
        throw new ToolError('damaged', error.message, { cause: error })
      throw error
    }
  })
}

/** Who the cluster is, from its name and the record: cluster.json may be what is damaged. */
function identityOf({ cluster, walSegmentSize }: BackupRecord): ClusterIdentity {
  const { major = 0, systemIdentifier = 0n } = parseClusterName(cluster) ?? {}
  return {
    ...documentHead(),
    ...{ name: cluster, postgresMajor: major, systemIdentifier: String(systemIdentifier), walSegmentSize },
  }
}
