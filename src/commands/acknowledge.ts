/** An operator accepts what is wrong with a backup (D12): from then on it counts as clean for retention. */
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { findBackup, listBackupIds } from '../repository/catalog.js'
import { findCluster } from '../repository/clusters.js'
import { readProofStates, writeProof, type Fault } from '../repository/proofs.js'
import { readBackupRecord } from '../repository/backup-record.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToWrite } from './open-repository.js'

/** What was accepted. */
export interface AcknowledgedBackup {
  cluster: string
  id: string
  reason: string
  /** RFC 3339 in UTC. */
  time: string
  /** Faults of the newest look, at most 100 of them. */
  faults: Fault[]
  faultCount: number
  /** Corrupt pages that the backup found in its source. */
  pageErrors: number
}

/** Keeps the acknowledgement. Throws ToolError `refused` where nothing is wrong, or all of it was accepted before. */
export async function acknowledge(
  settings: Settings,
  options: { backup: string; reason: string },
  context: CommandContext,
): Promise<AcknowledgedBackup> {
  const reason = options.reason.trim()
  if (reason === '') throw new ToolError('usage', 'the reason of an acknowledgement must not be empty')
  const { signal } = context
  const { storage } = await openToWrite(settings, undefined, signal)
  try {
    const { name: cluster } = await findCluster(storage, settings.cluster, signal)
    const ids = await listBackupIds(storage, cluster, signal)
    const isId = ids.includes(options.backup)
    const id = isId
      ? options.backup
      : (await findBackup(storage, cluster, options.backup, warnOfUnreadable(context), signal)).id
    const state = (await readProofStates(storage, cluster, signal)).get(id)
    const isFailed = state?.state === 'failed'
    // a damaged record says nothing of page errors; its own fault is what there is to accept
    const pageErrors = await readBackupRecord(storage, cluster, id, signal).then(
      ({ totals }) => totals.pageErrors,
      (error: unknown) => {
        if (isFailed && error instanceof ToolError && (error.code === 'damaged' || error.code === 'configuration'))
          return 0
        throw error
      },
    )
    const isAccepted = (state?.acknowledgements.length ?? 0) > 0
    if (!isFailed && (pageErrors === 0 || isAccepted)) {
      throw new ToolError(
        'refused',
        isAccepted
          ? `what is wrong with backup ${id} is acknowledged already`
          : `nothing is known to be wrong with backup ${id}`,
        { hint: 'Look at it with "pgsluice verify".' },
      )
    }
    const faults = isFailed ? state.faults : []
    const faultCount = isFailed ? state.faultCount : 0
    const time = new Date().toISOString()
    await writeProof(storage, cluster, { id, kind: 'acknowledge', time, ok: false, faults, faultCount, reason }, signal)
    return { cluster, id, reason, time, faults, faultCount, pageErrors }
  } finally {
    storage.close()
  }
}
