/**
 * Proofs: what was found when a backup was looked at (`proofs/<id>/<time>.json`). Each look is a document of its own; the
 * newest at each level counts, and an operator's acknowledgement of what is wrong stands for the faults that it names.
 */
import { NotFoundError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument } from './document.js'
import { proofKey, proofsPrefix } from './layout.js'
import { documentKeys } from './newest-documents.js'

/** How deep a look went. Each level includes those before it. */
export type ProofLevel = 'metadata' | 'content' | 'wal'

/** One fault that was found. */
export interface Fault {
  /** Key of the object, relative to the repository. */
  key: string
  /** Where in it: `file "base/5/1259", byte 8192` … */
  place?: string
  /** What is wrong, as a message without a full stop. */
  problem: string
}

/** What one look, or one acknowledgement, says. */
export interface Proof {
  /** Of the backup. */
  id: string
  kind: 'verify' | 'acknowledge'
  /** Of `verify`. */
  level?: ProofLevel
  /** RFC 3339 in UTC, when it ended. */
  time: string
  /** No fault was found. */
  ok: boolean
  /** What is wrong, or what was acknowledged; at most 100 are kept. */
  faults: Fault[]
  /** Number of all faults. */
  faultCount: number
  /** Why an operator accepts the faults. */
  reason?: string
}

/** Keeps a proof. */
export async function writeProof(storage: Storage, cluster: string, proof: Proof, signal?: AbortSignal): Promise<void> {
  const key = proofKey(cluster, proof.id, new Date(proof.time))
  await createObject(storage, key, formatDocument({ ...documentHead(), ...proof }), signal)
}

/** What all proofs of a backup together say. */
export interface ProofState {
  /**
   * `failed`: faults were found that nobody has acknowledged since, and no look as deep has found them gone.
   * `acknowledged`: an operator has accepted what is wrong, corrupt pages of the source included (D12), and nothing was
   * found wrong since.
   */
  state: 'proven' | 'failed' | 'acknowledged'
  /** The deepest level at which the newest look found no fault; of `failed` the level that found them. */
  level?: ProofLevel
  /** RFC 3339 in UTC: when the look, or the acknowledgement, that decides was. */
  time: string
  /** Faults that are not acknowledged; of `acknowledged` those that are. */
  faultCount: number
  /** The newest look at each level or a deeper one that was fault-free and not followed by one with faults. */
  proven: Partial<Record<ProofLevel, string>>
  /** Of operators, newest first. */
  acknowledgements: { time: string; reason: string }[]
  /** Of `failed`: what was found. */
  faults: Fault[]
}

/** Levels in the order of their depth. */
const PROOF_LEVELS: readonly ProofLevel[] = ['metadata', 'content', 'wal']

const PARALLEL_READS = 16
/** Proofs of one backup that are read: with a look a day, years. */
const MOST_PROOFS = 1000

/** What is known of each backup that was ever looked at, by its id. A proof that cannot be read is an error, not passed over. */
export async function readProofStates(
  storage: Storage,
  cluster: string,
  signal?: AbortSignal,
): Promise<Map<string, ProofState>> {
  const states = new Map<string, ProofState>()
  for (const [id, keys] of await documentKeys(storage, proofsPrefix(cluster), signal)) {
    const proofs: Proof[] = []
    const newest = keys.slice(-MOST_PROOFS)
    for (let at = 0; at < newest.length; at += PARALLEL_READS) {
      const batch = newest.slice(at, at + PARALLEL_READS).map((key) => readProof(storage, key, signal))
      for (const proof of await Promise.all(batch)) if (proof) proofs.push(proof)
    }
    const state = stateOf(proofs)
    if (state) states.set(id, state)
  }
  return states
}

/** What proofs, oldest first, say together. A look says nothing about what only a deeper one sees. */
export function stateOf(proofs: readonly Proof[]): ProofState | undefined {
  const acknowledgements: ProofState['acknowledgements'] = []
  const proven: ProofState['proven'] = {}
  let failed: Proof | undefined
  let acknowledged: Proof | undefined
  let decided = -1
  for (const proof of [...proofs].reverse()) {
    if (proof.kind === 'acknowledge') {
      acknowledged ??= proof
      acknowledgements.push({ time: proof.time, reason: proof.reason ?? '' })
      continue
    }
    // what was found before an acknowledgement is covered by it
    if (acknowledged && !proof.ok) break
    const depth = PROOF_LEVELS.indexOf(proof.level ?? 'metadata')
    if (depth <= decided) continue
    if (proof.ok) for (const level of PROOF_LEVELS.slice(decided + 1, depth + 1)) proven[level] = proof.time
    else failed ??= proof
    decided = depth
  }
  for (const proof of proofs) {
    if (proof.kind !== 'acknowledge' || acknowledgements.some(({ time }) => time === proof.time)) continue
    acknowledgements.push({ time: proof.time, reason: proof.reason ?? '' })
  }
  acknowledgements.sort((a, b) => (a.time < b.time ? 1 : -1))
  const shared = { proven, acknowledgements }
  if (failed) {
    const { level, time, faultCount, faults } = failed
    return { ...shared, state: 'failed', ...(level && { level }), time, faultCount, faults }
  }
  const level = PROOF_LEVELS.findLast((one) => proven[one] !== undefined)
  const time = level && proven[level]
  if (acknowledged) {
    const { time: when, faultCount } = acknowledged
    return { ...shared, state: 'acknowledged', ...(level && { level }), time: when, faultCount, faults: [] }
  }
  if (level === undefined || time === undefined) return undefined
  return { ...shared, state: 'proven', level, time, faultCount: 0, faults: [] }
}

async function readProof(storage: Storage, key: string, signal?: AbortSignal): Promise<Proof | undefined> {
  try {
    return (await readDocument(storage, key, signal)) as unknown as Proof
  } catch (error) {
    // deleted since it was listed
    if (error instanceof NotFoundError) return undefined
    throw error
  }
}
