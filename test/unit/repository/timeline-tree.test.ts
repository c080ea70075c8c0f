import { formatLsn, parseLsn } from '#src/postgres/lsn.js'
import { parseWalFileName, segmentName, type SegmentParts } from '#src/postgres/wal-segment.js'
import { readForkSegments } from '#src/repository/fork-segment.js'
import { walKey } from '#src/repository/layout.js'
import {
  findHeads,
  headsOf,
  historiesOf,
  pathTo,
  readTimelineTree,
  segmentsOfPath,
  type TimelineTree,
  type WalPoint,
} from '#src/repository/timeline-tree.js'
import { readTimelineWal } from '#src/repository/wal-map.js'
import type { Storage } from '#src/storage/storage.js'
import { WalWriter } from '../../support/wal-writer.js'
import { storeWal, WAL_CLUSTER, withDirectory } from './wal-scene.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const SIZE = WAL_CLUSTER.walSegmentSize
const segment = (timeline: number, number: number): string => segmentName(timeline, BigInt(number), SIZE)
const segments = (timeline: number, first: number, last: number): string[] =>
  Array.from({ length: last - first + 1 }, (_, index) => segment(timeline, first + index))
const partial = (timeline: number, number: number): string => `${segment(timeline, number)}.partial`
/** The byte before `inMiddle` of a segment, 0x28 by default as after a switch; 0 is a boundary. */
const at = (number: number, inMiddle = 0x28): string => formatLsn(BigInt(number) * BigInt(SIZE) + BigInt(inMiddle))

/** An archive: history files by timeline as `parent@LSN …`, or any other text; and the names of other files. */
interface Archive {
  histories?: Readonly<Record<number, string>>
  stored?: readonly string[]
  /** Those of the segments that hold a commit, well behind their beginning. */
  committing?: readonly string[]
  /** Those that cannot be read. */
  unreadable?: readonly string[]
}

/** A segment with little in it. */
function walOf(name: string, committing: boolean): Buffer {
  const { log, segment: number } = parseWalFileName(name) as SegmentParts
  const start = (BigInt(log) << 32n) + BigInt(number) * BigInt(SIZE)
  const wal = new WalWriter({ start, pages: SIZE / 8192 })
  wal.append({ resourceManager: 10, data: Buffer.alloc(0x200) })
  if (committing) wal.append({ xid: 700, data: Buffer.alloc(8) })
  return wal.segment(0)
}

async function withArchive(
  { histories = {}, stored = [], committing = [], unreadable = [] }: Archive,
  run: (storage: Storage, tree: TimelineTree) => Promise<void>,
): Promise<void> {
  await withDirectory(async ({ storage, directory }) => {
    for (const [timeline, text] of Object.entries(histories)) {
      const file = `${Number(timeline).toString(16).toUpperCase().padStart(8, '0')}.history`
      const lines = text.replaceAll(/(\d+)@(\S+) ?/g, '$1\t$2\tno recovery target specified\n')
      await storeWal(storage, directory, file, lines)
    }
    const wholes = stored.filter((name) => parseWalFileName(name)?.kind === 'segment' && !unreadable.includes(name))
    for (const name of wholes) await storeWal(storage, directory, name, walOf(name, committing.includes(name)))
    const others = stored.filter((name) => !wholes.includes(name))
    for (const name of others) await storage.put(walKey(WAL_CLUSTER.name, parseWalFileName(name)!), Buffer.from(name))
    await run(storage, await readTimelineTree(storage, WAL_CLUSTER))
  })
}

const HEADS: readonly (Archive & { name: string; from?: [number, string]; heads: RegExp[] })[] = [
  { name: 'an archive without WAL has none', heads: [] },
  { name: 'one timeline', stored: segments(1, 1, 3), heads: [/^timeline 1$/] },
  { name: 'one that holds only a .partial', stored: [partial(1, 3)], heads: [/^timeline 1$/] },
  {
    name: 'a promotion in the middle of a segment, which is .partial on the old timeline',
    histories: { 2: `1@${at(4)}` },
    stored: [...segments(1, 1, 3), partial(1, 4), ...segments(2, 4, 6)],
    heads: [/^timeline 2, which left timeline 1 at 0\/400028$/],
  },
  {
    name: 'a promotion right now: the new timeline has a history and nothing else',
    histories: { 2: `1@${at(4)}` },
    stored: segments(1, 1, 3),
    heads: [/^timeline 2,/],
  },
  {
    name: 'a promotion right now, of a cluster that was lost and left its last segment whole',
    histories: { 2: `1@${at(3, 0xffff0)}` },
    stored: segments(1, 1, 3),
    heads: [/^timeline 2,/],
  },
  {
    name: 'recovery of a lost cluster: its last segment is whole, with half a record at its end',
    histories: { 2: `1@${at(3, 0xffff0)}` },
    stored: [...segments(1, 1, 3), ...segments(2, 3, 5)],
    heads: [/^timeline 2,/],
  },
  {
    name: 'a copy that was recovered to an instant within the last segment of a server that went on',
    histories: { 2: `1@${at(3)}` },
    stored: [...segments(1, 1, 3), ...segments(2, 3, 5)],
    committing: [segment(1, 3)],
    heads: [/^timeline 1, which has WAL after timeline 2 left it/, /^timeline 2,/],
  },
  {
    name: 'a last segment that cannot be read: nobody can say that nothing is behind the fork',
    histories: { 2: `1@${at(3)}` },
    stored: [...segments(1, 1, 3), ...segments(2, 3, 5)],
    unreadable: [segment(1, 3)],
    heads: [/^timeline 1, which has WAL after timeline 2 left it/, /^timeline 2,/],
  },
  {
    name: 'a promotion exactly between two segments',
    histories: { 2: `1@${at(4, 0)}` },
    stored: [...segments(1, 1, 3), ...segments(2, 4, 5)],
    heads: [/^timeline 2,/],
  },
  {
    name: 'the old timeline went on after a promotion exactly between two segments',
    histories: { 2: `1@${at(4, 0)}` },
    stored: [...segments(1, 1, 4), ...segments(2, 4, 5)],
    heads: [/^timeline 1, which has WAL after timeline 2 left it at 0\/400000$/, /^timeline 2,/],
  },
  {
    name: 'the old primary filled the segment that the promoted standby archived as .partial',
    histories: { 2: `1@${at(4)}` },
    stored: [...segments(1, 1, 4), partial(1, 4), ...segments(2, 4, 5)],
    heads: [/^timeline 1, which has WAL/, /^timeline 2,/],
  },
  {
    name: 'the old timeline went on for long',
    histories: { 2: `1@${at(4)}` },
    stored: [...segments(1, 1, 9), ...segments(2, 4, 5)],
    heads: [/^timeline 1, which has WAL after timeline 2 left it at 0\/400028$/, /^timeline 2,/],
  },
  {
    name: 'the old timeline went on, the new one has nothing yet',
    histories: { 2: `1@${at(4)}` },
    stored: segments(1, 1, 9),
    heads: [/^timeline 1, which has WAL/],
  },
  {
    name: 'a chain of twelve promotions',
    histories: Object.fromEntries(
      Array.from({ length: 11 }, (_, index) => [
        index + 2,
        Array.from({ length: index + 1 }, (_, n) => `${n + 1}@${at(n + 2)}`).join(' '),
      ]),
    ),
    stored: Array.from({ length: 12 }, (_, index) => [
      segment(index + 1, index + 1),
      partial(index + 1, index + 2),
    ]).flat(),
    heads: [/^timeline 12, which left timeline 11 at 0\/C00028$/],
  },
  {
    name: 'a restore into the past, and a promotion of what went on',
    histories: { 2: `1@${at(3)}`, 3: `1@${at(6)}` },
    stored: [...segments(1, 1, 5), partial(1, 6), ...segments(2, 3, 4), ...segments(3, 6, 7)],
    heads: [/^timeline 2,/, /^timeline 3,/],
  },
  {
    name: 'a restore into the past of what was promoted: what the promotion continues is no head',
    histories: { 2: `1@${at(6)}`, 3: `1@${at(3)}` },
    stored: [...segments(1, 1, 5), ...segments(2, 6, 7), ...segments(3, 3, 4)],
    heads: [/^timeline 2,/, /^timeline 3,/],
  },
  {
    name: 'a timeline between of which nothing is stored',
    histories: { 3: `1@${at(4)} 2@${at(4, 0x400)}` },
    stored: [...segments(1, 1, 3), ...segments(3, 4, 5)],
    heads: [/^timeline 3, which left timeline 2 at /],
  },
  {
    name: 'of two attempts at a promotion that have nothing yet, the newer',
    histories: { 2: `1@${at(4)}`, 3: `1@${at(4)}` },
    stored: segments(1, 1, 3),
    heads: [/^timeline 3,/],
  },
  {
    name: 'an attempt that came to nothing, and one that did not',
    histories: { 2: `1@${at(4)}`, 3: `1@${at(4)}` },
    stored: [...segments(1, 1, 3), ...segments(2, 4, 5)],
    heads: [/^timeline 2,/],
  },
  {
    name: 'a promotion right now, beside a server that went on before it',
    histories: { 2: `1@${at(4)}`, 3: `1@${at(4)} 2@${at(7)}` },
    stored: [...segments(1, 1, 9), ...segments(2, 4, 6)],
    heads: [/^timeline 1, which has WAL/, /^timeline 3, which left timeline 2/],
  },
  {
    name: 'an archive that began later than its timeline',
    stored: [...segments(5, 9, 12)],
    heads: [/^timeline 5$/],
  },
  {
    name: 'an archive that began later, and a promotion',
    histories: { 6: `1@${at(3)} 5@${at(13)}` },
    stored: [...segments(5, 9, 12), ...segments(6, 13, 13)],
    heads: [/^timeline 6, which left timeline 5/],
  },
  {
    name: 'a history that cannot be read: nobody knows what its timeline continues',
    histories: { 2: 'nonsense\n' },
    stored: [...segments(1, 1, 3), ...segments(2, 4, 5)],
    heads: [/^timeline 1$/, /^timeline 2$/],
  },
  {
    name: 'only those that can be reached: a fork before the point is none',
    histories: { 2: `1@${at(3)}`, 3: `1@${at(9)}` },
    stored: [...segments(1, 1, 8), ...segments(2, 3, 9), ...segments(3, 9, 9)],
    from: [1, at(5)],
    heads: [/^timeline 3,/],
  },
  {
    name: 'only those that can be reached, where the fork before the point is all that left the timeline',
    histories: { 2: `1@${at(5)}` },
    stored: [...segments(1, 1, 5), ...segments(2, 5, 9)],
    from: [1, at(5, 0x100)],
    heads: [/^timeline 1$/],
  },
  {
    name: 'a point behind a fork, seen from the older timeline’s side and the newer’s',
    histories: { 2: `1@${at(3)}` },
    stored: [...segments(1, 1, 8), ...segments(2, 3, 9)],
    from: [2, at(3, 0x100)],
    heads: [/^timeline 2,/],
  },
  { name: 'a point on a timeline of which nothing is stored', from: [1, at(3)], heads: [/^timeline 1$/] },
]
for (const { name, from, heads, ...archive } of HEADS) {
  test(`the heads of the archive: ${name} (rule 9)`, async () => {
    await withArchive(archive, async (storage, tree) => {
      const point: WalPoint | undefined = from && { timeline: from[0], lsn: parseLsn(from[1]) }
      const found = await findHeads(storage, WAL_CLUSTER, tree, { from: point })
      const said = found.map(({ description }) => description)
      assert.equal(said.length, heads.length, said.join('; '))
      for (const [index, pattern] of heads.entries()) assert.match(said[index]!, pattern)
      const ends = new Map()
      for (const timeline of tree.nodes.keys())
        ends.set(timeline, (await readTimelineWal(storage, WAL_CLUSTER, timeline)).end)
      await readForkSegments(storage, WAL_CLUSTER, historiesOf(tree), ends)
      assert.deepEqual(headsOf(tree, ends, SIZE, point), found, 'a full listing says the same')
    })
  })
}

test('readTimelineTree() finds every timeline, with a listing for each folder (I10)', async () => {
  const archive: Archive = {
    histories: { 2: `1@${at(3)}`, 3: 'nonsense\n', 0xa: `1@${at(3)} 2@${at(5)}`, 0x1b: '1@0/1 0x@\n' },
    stored: [...segments(1, 1, 5), segment(2, 3), segment(9, 7), partial(0xa, 9)],
  }
  await withArchive(archive, async (storage) => {
    let listings = 0
    const list: Storage['list'] = (...call) => {
      listings++
      return storage.list(...call)
    }
    const counted = new Proxy(storage, {
      get: (target, member) => {
        if (member === 'list') return list
        const value: unknown = Reflect.get(target, member)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
    const { nodes, unreadable } = await readTimelineTree(counted, WAL_CLUSTER)
    assert.equal(listings, 5)
    assert.deepEqual(
      [...nodes.values()].map(({ timeline, parent, begin }) => [timeline, parent, begin && formatLsn(begin)]),
      [
        [1, undefined, undefined],
        [2, 1, at(3)],
        [3, undefined, undefined],
        [9, undefined, undefined],
        [10, 2, at(5)],
        [27, undefined, undefined],
      ],
    )
    assert.deepEqual(
      unreadable.map(({ timeline, error }) => [timeline, error.code]),
      [
        [3, 'damaged'],
        [27, 'damaged'],
      ],
    )
  })
})

test('pathTo() leads along the timelines in between, and nowhere that a server could not go (I1, I9)', async () => {
  const archive = { histories: { 2: `1@${at(3)}`, 3: `1@${at(3)} 2@${at(5)}`, 4: `1@${at(4)}` } }
  await withArchive(archive, (_, tree) => {
    const path = (timeline: number, lsn: string, target: number): string | undefined =>
      pathTo(tree, { timeline, lsn: parseLsn(lsn) }, target)
        ?.map((step) => `${step.timeline}: ${formatLsn(step.from)}-${step.to === undefined ? '' : formatLsn(step.to)}`)
        .join(', ')
    assert.equal(path(1, at(1), 3), `1: ${at(1)}-${at(3)}, 2: ${at(3)}-${at(5)}, 3: ${at(5)}-`)
    assert.equal(path(2, at(4), 3), `2: ${at(4)}-${at(5)}, 3: ${at(5)}-`)
    assert.equal(path(1, at(3), 2), `1: ${at(3)}-${at(3)}, 2: ${at(3)}-`)
    assert.equal(path(1, at(9), 1), `1: ${at(9)}-`)
    assert.equal(path(7, at(9), 7), `7: ${at(9)}-`)
    assert.equal(path(1, at(3, 0x30), 2), undefined, 'it left before')
    assert.equal(path(2, at(4), 1), undefined, 'it is the older')
    assert.equal(path(2, at(4), 4), undefined, 'it is another branch')
    assert.equal(path(1, at(1), 9), undefined, 'nobody knows it')
    return Promise.resolve()
  })
})

interface PathCase extends Archive {
  name: string
  start: [number, string]
  target: number
  end?: string
  found: string[]
  gap?: { missing: string; before: string | undefined; behind: string; isBehindStored: boolean }
}
const FORK = { histories: { 2: `1@${at(4)}` } }
const PATHS: readonly PathCase[] = [
  {
    ...{ name: 'one timeline to its end', start: [1, at(2)], target: 1 },
    ...{ stored: segments(1, 1, 4), found: segments(1, 2, 4) },
  },
  {
    ...{ name: 'one timeline to an LSN', start: [1, at(2)], target: 1, end: at(3, 0) },
    ...{ stored: segments(1, 1, 4), found: [segment(1, 2)] },
  },
  {
    ...{ name: 'an LSN that the archive does not reach', start: [1, at(2)], target: 1, end: at(6) },
    ...{ stored: segments(1, 1, 4), found: segments(1, 2, 4) },
    gap: { missing: segment(1, 5), before: segment(1, 4), behind: segment(1, 6), isBehindStored: false },
  },
  {
    ...{ name: 'two gaps, of which the first counts', start: [1, at(2)], target: 1 },
    ...{ stored: [2, 3, 6, 8].map((number) => segment(1, number)), found: [2, 3, 6, 8].map((n) => segment(1, n)) },
    gap: { missing: segment(1, 4), before: segment(1, 3), behind: segment(1, 6), isBehindStored: true },
  },
  {
    ...{ name: 'a beginning that is missing', start: [1, at(2)], target: 1 },
    ...{ stored: segments(1, 3, 4), found: segments(1, 3, 4) },
    gap: { missing: segment(1, 2), before: undefined, behind: segment(1, 3), isBehindStored: true },
  },
  {
    ...{ ...FORK, name: 'over a switch, whose segment is the new timeline’s', start: [1, at(2)], target: 2 },
    ...{ stored: [...segments(1, 2, 4), ...segments(2, 4, 5)], found: [...segments(1, 2, 3), ...segments(2, 4, 5)] },
  },
  {
    ...{ name: 'over a switch on a boundary', histories: { 2: `1@${at(4, 0)}` }, start: [1, at(2)], target: 2 },
    ...{ stored: [...segments(1, 2, 3), ...segments(2, 4, 5)], found: [...segments(1, 2, 3), ...segments(2, 4, 5)] },
  },
  {
    ...{ ...FORK, name: 'a .partial never stands in for the new timeline’s segment', start: [1, at(2)], target: 2 },
    ...{ stored: [...segments(1, 2, 3), partial(1, 4), segment(2, 5)], found: [...segments(1, 2, 3), segment(2, 5)] },
    gap: { missing: segment(2, 4), before: segment(1, 3), behind: segment(2, 5), isBehindStored: true },
  },
  {
    ...{ ...FORK, name: 'nor does the old timeline’s whole one', start: [1, at(2)], target: 2 },
    ...{ stored: [...segments(1, 2, 4), segment(2, 5)], found: [...segments(1, 2, 3), segment(2, 5)] },
    gap: { missing: segment(2, 4), before: segment(1, 3), behind: segment(2, 5), isBehindStored: true },
  },
  {
    ...{ ...FORK, name: 'but while the new one has nothing, it does', start: [1, at(2)], target: 2 },
    ...{ stored: segments(1, 2, 4), found: segments(1, 2, 4) },
  },
  {
    ...{ ...FORK, name: 'and for a target before the switch', start: [1, at(2)], target: 2, end: at(4, 0x20) },
    ...{ stored: [...segments(1, 2, 4), segment(2, 5)], found: segments(1, 2, 4) },
  },
  {
    ...{ ...FORK, name: 'not for one behind it', start: [1, at(2)], target: 2, end: at(4, 0x40) },
    ...{ stored: segments(1, 2, 4), found: segments(1, 2, 3) },
    gap: { missing: segment(2, 4), before: segment(1, 3), behind: segment(2, 4), isBehindStored: false },
  },
  {
    ...{ ...FORK, name: 'right after a promotion', start: [1, at(2)], target: 2 },
    ...{ stored: [...segments(1, 2, 3), partial(1, 4)], found: segments(1, 2, 3) },
  },
  {
    ...{ ...FORK, name: 'an end of the old timeline that is missing', start: [1, at(1)], target: 2 },
    ...{ stored: [segment(1, 1), ...segments(2, 4, 5)], found: [segment(1, 1), ...segments(2, 4, 5)] },
    gap: { missing: segment(1, 2), before: segment(1, 1), behind: segment(2, 4), isBehindStored: true },
  },
  {
    ...{ ...FORK, name: 'an end of the old timeline that is missing, and nothing new', start: [1, at(1)], target: 2 },
    ...{ stored: [segment(1, 1)], found: [segment(1, 1)] },
    gap: { missing: segment(1, 2), before: segment(1, 1), behind: segment(2, 4), isBehindStored: false },
  },
  {
    name: 'two switches in one segment, which only the newest must have',
    histories: { 3: `1@${at(4)} 2@${at(4, 0x400)}` },
    ...{ start: [1, at(3)], target: 3, stored: [segment(1, 3), ...segments(3, 4, 5)] },
    found: [segment(1, 3), ...segments(3, 4, 5)],
  },
  {
    name: 'two switches in one segment: the oldest ends before the second, and recovery would be said to be on the newest',
    histories: { 3: `1@${at(4)} 2@${at(4, 0x400)}` },
    ...{ start: [1, at(3)], target: 3, stored: [...segments(1, 3, 4), partial(2, 4)] },
    found: [segment(1, 3)],
    gap: { missing: segment(3, 4), before: segment(1, 3), behind: segment(3, 4), isBehindStored: false },
  },
  {
    name: 'two switches in one segment, which the timeline between has',
    histories: { 3: `1@${at(4)} 2@${at(4, 0x400)}` },
    ...{ start: [1, at(3)], target: 3, stored: [segment(1, 3), segment(2, 4)] },
    found: [segment(1, 3), segment(2, 4)],
  },
  {
    name: 'a promotion in the middle of a segment of which only a .partial is stored: what is in it would be lost',
    histories: { 2: `1@${at(4, 0x400)}` },
    ...{ start: [1, at(3)], target: 2, stored: [segment(1, 3), partial(1, 4)] },
    found: [segment(1, 3)],
    gap: { missing: segment(2, 4), before: segment(1, 3), behind: segment(2, 4), isBehindStored: false },
  },
  {
    name: 'a promotion right behind the header of a segment, of which nothing is stored yet',
    histories: { 2: `1@${at(4)}` },
    ...{ start: [1, at(3)], target: 2, stored: [segment(1, 3)] },
    found: [segment(1, 3)],
  },
  { name: 'nothing at all', start: [1, at(2)], target: 1, found: [] },
]
for (const { name, start, target, end, found, gap, ...archive } of PATHS) {
  test(`segmentsOfPath(): ${name} (I11)`, async () => {
    await withArchive(archive, async (storage, tree) => {
      const path = pathTo(tree, { timeline: start[0], lsn: parseLsn(start[1]) }, target)
      assert.ok(path)
      const options = end === undefined ? {} : { end: parseLsn(end) }
      const { segments: listed, firstGap } = await segmentsOfPath(storage, WAL_CLUSTER, path, options)
      assert.deepEqual(
        listed.map((each) => each.name),
        found,
      )
      assert.deepEqual(firstGap, gap)
    })
  })
}
