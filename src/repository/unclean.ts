/** Backups that are known not to be good, and whose faults no operator has acknowledged (D12). */
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { readProofStates } from './proofs.js'

/** Ids of those that verify found faults in, or whose source had corrupt pages, with no acknowledgement since. */
export async function findUnclean(
  storage: Storage,
  cluster: string,
  backups: readonly Pick<BackupRecord, 'id' | 'totals'>[],
  signal?: AbortSignal,
): Promise<Set<string>> {
  const states = await readProofStates(storage, cluster, signal)
  const isUnclean = ({ id, totals }: Pick<BackupRecord, 'id' | 'totals'>): boolean => {
    const state = states.get(id)?.state
    // a look that went well says nothing of the source's pages
    return state === 'failed' || (totals.pageErrors > 0 && state !== 'acknowledged')
  }
  return new Set(backups.filter(isUnclean).map(({ id }) => id))
}
