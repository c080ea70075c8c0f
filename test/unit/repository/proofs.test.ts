import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stateOf, type Proof, type ProofLevel } from '#src/repository/proofs.js'

let clock = 0
const at = (): string => new Date(Date.UTC(2026, 10, 1) + clock++ * 1000).toISOString()
const FAULT = { key: 'k', problem: 'p' }

function verify(level: ProofLevel, ok: boolean): Proof {
  return { id: 'a', kind: 'verify', level, time: at(), ok, faults: ok ? [] : [FAULT], faultCount: ok ? 0 : 1 }
}
function acknowledge(): Proof {
  return { id: 'a', kind: 'acknowledge', time: at(), ok: false, faults: [FAULT], faultCount: 1, reason: 'known' }
}

const CASES: readonly { name: string; proofs: Proof[]; state: string | undefined; level?: ProofLevel }[] = [
  { name: 'nothing is known of a backup without proofs', proofs: [], state: undefined },
  { name: 'a look without faults proves', proofs: [verify('content', true)], state: 'proven', level: 'content' },
  {
    name: 'a look at the metadata hides nothing that one at the content found',
    proofs: [verify('content', false), verify('metadata', true)],
    state: 'failed',
    level: 'content',
  },
  {
    name: 'a deeper look without faults does',
    proofs: [verify('content', false), verify('wal', true)],
    state: 'proven',
    level: 'wal',
  },
  {
    name: 'faults of a shallow look count beside a deep one that is older',
    proofs: [verify('wal', true), verify('metadata', false)],
    state: 'failed',
    level: 'metadata',
  },
  {
    name: 'an acknowledgement covers what was found before',
    proofs: [verify('content', false), acknowledge()],
    state: 'acknowledged',
  },
  {
    name: 'and nothing that is found after',
    proofs: [verify('content', false), acknowledge(), verify('content', false)],
    state: 'failed',
    level: 'content',
  },
  {
    name: 'it stays when a later look finds nothing: it may have been about corrupt pages of the source',
    proofs: [acknowledge(), verify('content', true)],
    state: 'acknowledged',
    level: 'content',
  },
]

for (const { name, proofs, state, level } of CASES) {
  test(name, () => {
    const found = stateOf(proofs)
    assert.equal(found?.state, state)
    assert.equal(found?.level, level)
  })
}
