/** Backups that are known not to be good, and whose faults no operator has acknowledged (D12). */
import { NotFoundError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { readDocument } from './document.js'
import { proofsPrefix } from './layout.js'
import { documentKeys } from './newest-documents.js'
import type { Proof } from './proofs.js'

/** Ids of those whose newest verify found faults, or whose source had corrupt pages, with no acknowledgement since. */
export async function findUnclean(
  storage: Storage,
  cluster: string,
  backups: readonly Pick<BackupRecord, 'id' | 'totals'>[],
  signal?: AbortSignal,
): Promise<Set<string>> {
  const keys = await documentKeys(storage, proofsPrefix(cluster), signal)
  const unclean = new Set<string>()
  for (const { id, totals } of backups) {
    const kind = await decisiveProof(storage, keys.get(id) ?? [], signal)
    if (kind === 'failed' || (kind !== 'acknowledged' && totals.pageErrors > 0)) unclean.add(id)
  }
  return unclean
}

/** The newest that decides: an acknowledgement, or a verify that failed; one that went well says nothing of the source's pages. */
async function decisiveProof(
  storage: Storage,
  keys: readonly string[],
  signal?: AbortSignal,
): Promise<'failed' | 'acknowledged' | undefined> {
  let isVerified = false
  for (const key of keys.toReversed()) {
    try {
      const { kind, ok } = (await readDocument(storage, key, signal)) as unknown as Proof
      if (kind === 'acknowledge') return 'acknowledged'
      if (!ok && !isVerified) return 'failed'
      isVerified = true
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error
    }
  }
  return undefined
}
