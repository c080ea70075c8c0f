import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAncestor, parseTimelineHistory, switchLsnOf, timelineAt } from '#src/postgres/timeline.js'

const TEXT = `1\t0/3000000\tno recovery target specified

# a comment
3\t0/5000000\tbefore 2026-03-01 02:00:00+00
  4\t0/5000000
`

test('parseTimelineHistory() reads entries, comments and empty lines', () => {
  assert.deepEqual(parseTimelineHistory(TEXT, 7), {
    timeline: 7,
    entries: [
      { timeline: 1, switchLsn: 0x300_0000n, reason: 'no recovery target specified' },
      { timeline: 3, switchLsn: 0x500_0000n, reason: 'before 2026-03-01 02:00:00+00' },
      { timeline: 4, switchLsn: 0x500_0000n, reason: '' },
    ],
  })
  assert.deepEqual(parseTimelineHistory('', 1), { timeline: 1, entries: [] })
})

test('timelineAt() gives a switch LSN to the timeline that begins there', () => {
  const history = parseTimelineHistory(TEXT, 7)
  const cases: [bigint, number][] = [
    [0n, 1],
    [0x2ff_ffffn, 1],
    [0x300_0000n, 3],
    [0x4ff_ffffn, 3],
    [0x500_0000n, 7],
    [2n ** 64n - 1n, 7],
  ]
  for (const [lsn, timeline] of cases) assert.equal(timelineAt(history, lsn), timeline)
})

test('isAncestor() asks for descent and not for a lower number', () => {
  const history = parseTimelineHistory(TEXT, 7)
  assert.ok(isAncestor(history, 7))
  assert.ok(isAncestor(history, 7, 2n ** 60n))
  assert.ok(isAncestor(history, 1))
  assert.ok(isAncestor(history, 1, 0x300_0000n))
  assert.ok(!isAncestor(history, 1, 0x300_0001n))
  assert.ok(!isAncestor(history, 2))
  assert.ok(!isAncestor(history, 8))
  assert.equal(switchLsnOf(history, 3), 0x500_0000n)
  assert.equal(switchLsnOf(history, 7), undefined)
})

test('parseTimelineHistory() refuses what readTimeLineHistory() refuses', () => {
  const cases: [string, number, RegExp][] = [
    ['what\n', 2, /cannot read the line "what"/],
    ['1\n', 2, /cannot read the line "1"/],
    ['1\t0/123456789\tx\n', 2, /is no LSN/],
    ['2\t0\/1\tx\n1\t0\/2\tx\n', 3, /increasing order/],
    ['1\t0/1\tx\n1\t0/2\tx\n', 3, /increasing order/],
    ['1\t0/2\tx\n2\t0/1\tx\n', 3, /ends before it begins/],
    ['2\t0/1\tx\n', 2, /names timeline 2 as an ancestor/],
  ]
  for (const [text, timeline, message] of cases) {
    assert.throws(() => parseTimelineHistory(text, timeline), { code: 'damaged', message })
  }
})
