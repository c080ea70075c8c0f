/** What is proven of each backup, from the newest look at it. */
import type { Storage } from '../storage/storage.js'
import { proofsPrefix } from './layout.js'
import { readNewest } from './newest-documents.js'
import type { Proof, ProofLevel } from './proofs.js'

/** What the newest look at a backup found. */
export interface ProofState {
  state: 'proven' | 'failed' | 'acknowledged'
  /** How deep the look went. */
  level?: ProofLevel
  /** RFC 3339 in UTC, when it ended. */
  time: string
  faultCount: number
}

/** What is proven, by the id of the backup; one that nobody has looked at is not in it. */
export async function readProofStates(
  storage: Storage,
  cluster: string,
  signal?: AbortSignal,
): Promise<Map<string, ProofState>> {
  const proofs = await readNewest<Proof>(storage, proofsPrefix(cluster), signal)
  return new Map([...proofs].map(([id, proof]) => [id, stateOf(proof)]))
}

function stateOf({ kind, ok, level, time, faultCount }: Proof): ProofState {
  const state = kind === 'acknowledge' ? 'acknowledged' : ok ? 'proven' : 'failed'
  return { state, ...(level && { level }), time, faultCount }
}
