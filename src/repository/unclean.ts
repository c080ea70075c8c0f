/** Backups that are known not to be good, and whose faults no operator has acknowledged (D12). */
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { readProofStates, type ProofState } from './proofs.js'

/** Ids of those that verify found faults in, or whose source had corrupt pages, with no acknowledgement since. */
export async function findUnclean(
  storage: Storage,
  cluster: string,
  backups: readonly Pick<BackupRecord, 'id' | 'totals'>[],
  signal?: AbortSignal,
): Promise<Set<string>> {
  const states = await readProofStates(storage, cluster, signal)
  return new Set(backups.filter(({ id, totals }) => isUnclean(totals, states.get(id)?.state)).map(({ id }) => id))
}

/** Whether a backup is one of them. A look that went well says nothing of the source's pages. */
export function isUnclean(
  { pageErrors }: Pick<BackupRecord['totals'], 'pageErrors'>,
  state?: ProofState['state'],
): boolean {
  return state === 'failed' || (pageErrors > 0 && state !== 'acknowledged')
}
