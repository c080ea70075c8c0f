import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chosenOf } from '../../../scripts/bench/priorities.js'
import { friendlyTable } from '../../../scripts/bench/render-friendly.js'
import { renderResults } from '../../../scripts/bench/render.js'
import type { Friendly, FriendlyRun, LoadFigures, Results, ToolFacts } from '../../../scripts/bench/results.js'

const tool = (name: string): ToolFacts => ({
  name,
  version: '1',
  isOurs: false,
  transport: 'http',
  usesBucket: true,
  compression: 'zstd 1',
  remark: undefined,
})
const figures = (medianMs: number, tps: number): LoadFigures => ({
  seconds: 30,
  transactions: 6000,
  tps,
  medianMs,
  p95Ms: medianMs * 2,
  p99Ms: medianMs * 4,
  maxMs: medianMs * 100,
})
const run = (name: string, round: number, [before, during]: [number, number]): FriendlyRun => ({
  tool: name,
  round,
  turn: 1,
  wall: 10 + round,
  before: figures(before, 200),
  during: figures(during, 150),
})
const RESULTS: Results = {
  command: 'npm run bench',
  date: '2026-11-28T00:00:00Z',
  machine: { kernel: 'Linux', cpu: 'a CPU', cores: 2, memoryBytes: 2 ** 30, node: 'v20', loadBefore: 0 },
  postgresql: '15',
  clusterBytes: 1e9,
  contents: 'rows',
  rounds: 3,
  jobs: 2,
  store: 'a store',
  caches: 'warm',
  tools: [tool('one'), tool('unmeasured'), tool('two')],
  absent: [],
  runs: [],
  stages: [],
  scaling: [],
  proofs: [],
  failures: [],
  friendly: {
    clients: 8,
    rate: 200,
    before: 30,
    priorities: { autogroups: true, ioScheduler: 'none' },
    alone: [{ when: 'before round 1', figures: figures(1.5, 199.5) }],
    runs: [
      run('two', 1, [1, 5]),
      // Each round has its own reference: 3, 2 and 4 times, though the medians differ by 3.5 of 2.
      ...(
        [
          [1, 3],
          [2, 4],
          [4, 16],
        ] as const
      ).map(([before, during], index) => run('one', index + 1, [before, during])),
    ],
  },
}

test('each tool has the load before and during its backups, and the median of the ratios of its rounds', () => {
  const lines = friendlyTable(RESULTS).split('\n')
  assert.deepEqual(
    lines.filter((line) => /^\| (no backup|one|two|unmeasured)/.test(line)),
    [
      '| no backup, no archive, before round 1 |  | 1.50 | 3.00 | 6.00 | 150 | 199.5 |',
      '| one | 12.00 | 2.00 → 4.00 (3.00) | 4.00 → 8.00 (3.00) | 8.00 → 16.00 (3.00) | 200 → 400 (3.00) | 200.0 → 150.0 (0.75) |',
      '| two | 11.00 | 1.00 → 5.00 (5.00) | 2.00 → 10.00 (5.00) | 4.00 → 20.00 (5.00) | 100 → 500 (5.00) | 200.0 → 150.0 (0.75) |',
    ],
  )
  assert.match(lines.join('\n'), /8 clients and 200 transactions a second: the 30 s before/)
})

test('the page says whether the machine heeds priorities', () => {
  const text = (priorities: Friendly['priorities']): string =>
    friendlyTable({ ...RESULTS, friendly: { ...RESULTS.friendly!, priorities } })
  assert.match(friendlyTable(RESULTS), /Autogroups are on: .*disk is none, which does little/)
  assert.match(text({ autogroups: false, ioScheduler: 'bfq' }), /Autogroups are off: .*disk is bfq\.\n/)
  assert.match(text({ autogroups: false, ioScheduler: undefined }), /disk is unknown/)
  assert.deepEqual(['[none] mq-deadline kyber bfq\n', 'none mq-deadline [bfq]\n', 'none\n'].map(chosenOf), [
    'none',
    'bfq',
    undefined,
  ])
})

test('the page has the table where the phase was measured, also read back from JSON, and no heading where it was not', () => {
  assert.match(renderResults(JSON.parse(JSON.stringify(RESULTS)) as Results), /\n## What a backup costs the database\n/)
  const { friendly: _friendly, ...without } = RESULTS
  assert.doesNotMatch(renderResults(without), /What a backup costs/)
})
