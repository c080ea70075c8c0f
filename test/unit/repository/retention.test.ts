/** Which backups stay and which WAL is needed, case by case; test/unit/repository/retention-histories.test.ts tries all at once. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatLsn } from '#src/postgres/lsn.js'
import { parseTimelineHistory, type TimelineHistory } from '#src/postgres/timeline.js'
import { segmentName } from '#src/postgres/wal-segment.js'
import { newestOfPeriods, periodOf } from '#src/repository/retention-periods.js'
import type { RetainedBackup } from '#src/repository/retention-policy.js'
import { planRetention, type RetentionInput, type RetentionPlan } from '#src/repository/retention.js'

const SIZE = 1024 * 1024
const DAY = 86_400_000
const NOW = Date.UTC(2026, 10, 30, 12)

/** A backup of so many days ago, whose WAL is one segment. */
function backup(id: string, daysAgo: number, segment: number, timeline = 1): RetainedBackup {
  const time = new Date(NOW - daysAgo * DAY).toISOString()
  const name = segmentName(timeline, BigInt(segment), SIZE)
  const lsn = formatLsn(BigInt(segment) * BigInt(SIZE) + 40n)
  const point = { lsn, timeline, segment: name, time }
  const totals = { bytes: 1, storedBytes: 100, seconds: 1, pageErrors: 0, vanishedFiles: 0, skippedFiles: 0 }
  const start = { ...point, checkpointLsn: lsn }
  return { id, label: 'x', start, stop: point, objects: { sha256: '', count: 1, bytes: 100 }, totals }
}

function plan(input: Partial<RetentionInput>): RetentionPlan {
  return planRetention({
    ...{ policy: {}, now: new Date(NOW), backups: [], pinned: new Set(), unclean: new Set(), stuck: new Map() },
    ...{ heads: [], histories: new Map(), inUse: [], unreadableBackups: [], unreadableHistories: [] },
    walSegmentSize: SIZE,
    ...input,
  })
}

const kept = ({ backups }: RetentionPlan): string =>
  backups.flatMap(({ backup: { id }, isKept }) => (isKept ? [id] : [])).join(' ')

/** a is 20 days old, b 10, c 5, d 1. */
const ABCD = [backup('a', 20, 10), backup('b', 10, 20), backup('c', 5, 30), backup('d', 1, 40)]

const CASES: { name: string; input: Partial<RetentionInput>; keeps: string }[] = [
  { name: 'the newest by count', input: { policy: { keepFull: 2 } }, keeps: 'c d' },
  { name: 'more than there are', input: { policy: { keepFull: 9 } }, keeps: 'a b c d' },
  { name: 'the newest before the window, too', input: { policy: { keepDays: 7 } }, keeps: 'b c d' },
  {
    name: 'one before the window, where none is in it',
    input: { policy: { keepDays: 1 }, backups: ABCD.slice(0, 3) },
    keeps: 'c',
  },
  { name: 'what any policy keeps', input: { policy: { keepFull: 1, keepMonthly: 2 } }, keeps: 'd' },
  { name: 'the newest of each day', input: { policy: { keepDaily: 3 } }, keeps: 'b c d' },
  { name: 'what fits', input: { policy: { maxSizeBytes: 250 } }, keeps: 'c d' },
  { name: 'the newest, even where it does not fit', input: { policy: { maxSizeBytes: 50 } }, keeps: 'd' },
  { name: 'what is pinned', input: { policy: { keepFull: 1 }, pinned: new Set(['a']) }, keeps: 'a d' },
  {
    name: 'good ones in the place of those that are not, beside them',
    input: { policy: { keepFull: 2 }, unclean: new Set(['c', 'a']) },
    keeps: 'b c d',
  },
  {
    name: 'the last good one behind those that are not',
    input: { policy: { keepFull: 1 }, unclean: new Set(['d', 'c']) },
    keeps: 'b c d',
  },
  {
    name: 'everything, where nothing is good',
    input: { policy: { keepFull: 1 }, unclean: new Set(['a', 'b', 'c', 'd']) },
    keeps: 'a b c d',
  },
  {
    name: 'what the store does not let go',
    input: { policy: { keepFull: 1 }, stuck: new Map([['b', 'locked']]) },
    keeps: 'b d',
  },
]

describe('planRetention() keeps', () => {
  for (const { name, input, keeps } of CASES)
    it(name, () => {
      assert.equal(kept(plan({ backups: ABCD, ...input })), keeps)
    })

  it('the newest that is older by time, whatever its timeline and LSN are (D4)', () => {
    const backups = [backup('high', 3, 90, 7), backup('low', 1, 5, 1)]
    assert.equal(kept(plan({ backups, policy: { keepFull: 1 } })), 'low')
  })

  it('the last of a timeline that another server still archives, until a day after its last WAL', () => {
    const histories = new Map([[2, history(2, '1\t0/1400000\tx\n')]])
    const backups = [...ABCD, backup('e', 0.1, 45, 2)]
    const heads = (hours: number): RetentionInput['heads'] => [
      { timeline: 1, lastStored: new Date(NOW - hours * 3_600_000) },
      { timeline: 2, lastStored: new Date(NOW) },
    ]
    assert.equal(kept(plan({ backups, histories, policy: { keepFull: 1 }, heads: heads(20) })), 'd e')
    assert.equal(kept(plan({ backups, histories, policy: { keepFull: 1 }, heads: heads(30) })), 'e')
  })
})

describe('the newest of periods', () => {
  for (const [period, one, same, other] of [
    ['hour', '2026-11-22T18:00:00Z', '2026-11-22T18:59:59.999Z', '2026-11-22T19:00:00Z'],
    ['day', '2026-11-22T00:00:00Z', '2026-11-22T23:59:59Z', '2026-11-23T00:00:00Z'],
    ['week', '2026-11-16T00:00:00Z', '2026-11-22T23:59:59Z', '2026-11-23T00:00:00Z'],
    ['week', '2025-12-29T00:00:00Z', '2026-01-04T23:59:59Z', '2026-01-05T00:00:00Z'],
    ['month', '2026-11-01T00:00:00Z', '2026-11-30T23:59:59Z', '2026-12-01T00:00:00Z'],
    ['year', '2026-01-01T00:00:00Z', '2026-12-31T23:59:59Z', '2027-01-01T00:00:00Z'],
  ] as const)
    it(`a ${period} has ${one} and ${same}, and not ${other}`, () => {
      assert.equal(periodOf(new Date(one), period), periodOf(new Date(same), period))
      assert.notEqual(periodOf(new Date(one), period), periodOf(new Date(other), period))
    })

  it('are those that have one: a pause in the backups costs none', () => {
    const days = [1, 1, 5, 9].map((day, at) => new Date(Date.UTC(2026, 0, day, at)))
    assert.deepEqual(
      newestOfPeriods(days, (day) => day, 'day', 2),
      [days[2], days[3]],
    )
  })
})

describe('WAL', () => {
  const use = ({ needs }: RetentionPlan, timeline: number, numbers: number[]): string =>
    numbers.map((number) => needs.useOf(timeline, BigInt(number))).join(' ')

  it('is kept from the oldest backup of the window on, and of older ones from start to stop', () => {
    const made = plan({ backups: ABCD, policy: { keepFull: 2, keepDaily: 3 } })
    assert.equal(use(made, 1, [19, 20, 21, 29, 30, 99]), 'expired backup expired expired recovery recovery')
  })

  it('is all kept from the oldest on where no window is asked for', () => {
    assert.equal(
      use(plan({ backups: ABCD, policy: { keepDaily: 3 } }), 1, [19, 20, 25, 99]),
      'expired recovery recovery recovery',
    )
  })

  it('of a pinned backup before the window is its own', () => {
    const made = plan({ backups: ABCD, policy: { keepDaily: 1 }, pinned: new Set(['a']) })
    assert.equal(use(made, 1, [9, 10, 11, 39, 40]), 'expired backup expired expired recovery')
  })

  it('of every timeline that descends from what is kept stays, from the segment of the fork on', () => {
    // 2 left 1 in segment 32, 3 left 2 in segment 35; 4 left 1 before the stop of the backup
    const histories = new Map([
      [2, history(2, '1\t0/2080000\tx\n')],
      [3, history(3, '1\t0/2080000\tx\n2\t0/2300000\tx\n')],
      [4, history(4, '1\t0/1D80000\tx\n')],
    ])
    const made = plan({ backups: [backup('c', 5, 30)], policy: { keepFull: 1 }, histories })
    assert.equal(use(made, 1, [29, 30, 99]), 'expired recovery recovery')
    assert.equal(use(made, 2, [31, 32, 99]), 'unknown recovery recovery')
    assert.equal(use(made, 3, [34, 35]), 'unknown recovery')
    assert.equal(use(made, 4, [29, 30]), 'expired unknown')
  })

  it('of a timeline that nothing connects with what is kept stays, however old it looks', () => {
    assert.equal(use(plan({ backups: ABCD, policy: { keepFull: 1 } }), 9, [1, 99]), 'unknown unknown')
  })

  it('of a timeline that is left stays where it went on behind everything that is kept', () => {
    const histories = new Map([[2, history(2, '1\t0/2080000\tx\n')]])
    const made = plan({ backups: [...ABCD.slice(0, 3), backup('e', 1, 40, 2)], policy: { keepFull: 1 }, histories })
    assert.equal(use(made, 1, [30, 32, 39, 40, 41]), 'expired expired expired unknown unknown')
  })

  it('that a backup in progress or one to be finalized begins with stays, with all behind it', () => {
    for (const state of ['running', 'unfinished'] as const) {
      const inUse = [{ id: 'r', state, start: { timeline: 1, lsn: 35n * BigInt(SIZE) } }]
      const made = plan({ backups: ABCD, policy: { keepFull: 1 }, inUse })
      assert.equal(use(made, 1, [34, 35, 36, 99]), 'expired recovery recovery recovery')
    }
  })

  it('is not deleted at all where something cannot be read that may need it', () => {
    const inUse = [{ id: 'r', state: 'running' as const, start: undefined }]
    const made = plan({
      backups: ABCD,
      policy: { keepFull: 1 },
      inUse,
      unreadableBackups: ['u'],
      unreadableHistories: [3],
    })
    assert.equal(made.walHolds.length, 3)
    assert.deepEqual(plan({ backups: ABCD, policy: { keepFull: 1 } }).walHolds, [])
  })

  it('is never expired where no backup is left to compare it with', () => {
    assert.equal(use(plan({ policy: { keepFull: 1 } }), 1, [1]), 'unknown')
  })
})

function history(timeline: number, text: string): TimelineHistory {
  return parseTimelineHistory(text, timeline)
}
