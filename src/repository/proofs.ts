/**
 * Proofs: what was found when a backup was looked at (`proofs/<id>/<time>.json`). Each look is a document of its own; the
 * newest at each level counts, and an operator's acknowledgement of what is wrong stands for the faults that it names.
 */
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument } from './document.js'
import { proofKey } from './layout.js'

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
