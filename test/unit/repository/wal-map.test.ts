import { parseWalFileName, segmentName } from '#src/postgres/wal-segment.js'
import { walKey } from '#src/repository/layout.js'
import { findWalEnd, listRanges, listSegments, readTimelineWal } from '#src/repository/wal-map.js'
import type { Storage, StoredObject } from '#src/storage/storage.js'
import { WAL_CLUSTER } from './wal-scene.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const SIZE = WAL_CLUSTER.walSegmentSize
const name = (number: number | bigint, timeline = 1): string => segmentName(timeline, BigInt(number), SIZE)
const keyOf = (file: string): string => walKey(WAL_CLUSTER.name, parseWalFileName(file)!)
const sizeOf = (key: string): number => key.length + Number.parseInt(key.slice(-6, -4), 16)
const timeOf = (key: string): Date => new Date(Date.UTC(2026, 0, 1) + sizeOf(key) * 1000)

/** A storage that can only list; it counts its listings, and the names that were taken from them. */
function listing(keys: readonly string[]): { storage: Storage; asked: { listings: number; names: number } } {
  const sorted = [...keys].sort()
  const asked = { listings: 0, names: 0 }
  async function* list(prefix: string, { startAfter = '' } = {}): AsyncGenerator<StoredObject> {
    asked.listings++
    for (const key of sorted) {
      if (!key.startsWith(prefix) || key <= startAfter) continue
      asked.names++
      yield await Promise.resolve({ key, size: sizeOf(key), lastModified: timeOf(key) })
    }
  }
  return { storage: { list } as unknown as Storage, asked }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = []
  for await (const item of items) collected.push(item)
  return collected
}

const stored = (names: readonly string[]): Storage => listing(names.map(keyOf)).storage

const RANGES: readonly { name: string; numbers: readonly number[]; from?: number; to?: number; ranges: number[][] }[] =
  [
    { name: 'nothing', numbers: [], ranges: [] },
    { name: 'one segment', numbers: [7], ranges: [[7, 7]] },
    { name: 'a run that crosses 4 GiB', numbers: [4094, 4095, 4096, 4097], ranges: [[4094, 4097]] },
    {
      name: 'gaps, the last at 4 GiB',
      numbers: [1, 2, 4, 4095, 4097],
      ranges: [
        [1, 2],
        [4, 4],
        [4095, 4095],
        [4097, 4097],
      ],
    },
    { name: 'a part of a run', numbers: [1, 2, 3, 4, 5], from: 2, to: 4, ranges: [[2, 4]] },
    { name: 'a part that begins in a gap', numbers: [1, 4, 5, 6], from: 3, to: 5, ranges: [[4, 5]] },
    { name: 'a part behind everything', numbers: [1, 2], from: 3, ranges: [] },
  ]
for (const { name: what, numbers, from, to, ranges } of RANGES) {
  test(`listRanges() and listSegments() of ${what}`, async () => {
    const options = {
      ...(from !== undefined && { from: BigInt(from) }),
      ...(to !== undefined && { to: BigInt(to) }),
    }
    // other timelines have other segments
    const storage = stored([...numbers.map((number) => name(number)), name(3, 2), name(5, 16)])
    const found = await listRanges(storage, WAL_CLUSTER, 1, options)
    assert.deepEqual(
      found.map(({ firstNumber, lastNumber }) => [Number(firstNumber), Number(lastNumber)]),
      ranges,
    )
    const segments = await collect(listSegments(storage, WAL_CLUSTER, 1, options))
    for (const range of found) {
      const own = segments.filter(({ number }) => number >= range.firstNumber && number <= range.lastNumber)
      assert.equal(own.length, range.segments)
      assert.deepEqual([own[0]!.name, own.at(-1)!.name], [range.first, range.last])
      const sum = own.reduce((bytes, { size }) => bytes + size, 0)
      assert.equal(range.storedBytes, sum)
      const times = own.map(({ lastModified }) => lastModified.getTime())
      assert.equal(range.firstStored.getTime(), Math.min(...times))
      assert.equal(range.lastStored.getTime(), Math.max(...times))
    }
    assert.equal(
      segments.length,
      found.reduce((count, { segments: more }) => count + more, 0),
    )
  })
}

test('a .partial is no segment (A4), a .backup is nothing, and both may end a timeline', async () => {
  const names = [name(1), name(2), `${name(2)}.00000028.backup`, `${name(3)}.partial`, `${name(4)}.00000028.backup`]
  const wal = await readTimelineWal(stored(names), WAL_CLUSTER, 1)
  assert.deepEqual(
    wal.ranges.map(({ first, last }) => [first, last]),
    [[name(1), name(2)]],
  )
  assert.deepEqual(wal.partials, [`${name(3)}.partial`])
  assert.equal(wal.end?.last.name, name(2))
  assert.equal(wal.end.hasPartial, false)
})

test('that the last segment is stored as .partial, too, is seen', async () => {
  const storage = stored([name(1), `${name(2)}.00000028.backup`, `${name(2)}.partial`, name(2), `${name(3)}.partial`])
  for (const end of [(await readTimelineWal(storage, WAL_CLUSTER, 1)).end, await findWalEnd(storage, WAL_CLUSTER, 1)]) {
    assert.equal(end?.last.name, name(2))
    assert.equal(end.hasPartial, true)
  }
})

test('what lies in a folder that is not its own is passed over', async () => {
  const folder = keyOf(name(2)).slice(0, -`${name(2)}.zst`.length)
  const strays = [
    `${folder}${name(3, 2)}.zst`,
    `${folder}${name(4097)}.zst`,
    `${folder}note.zst`,
    `${folder}${name(9)}`,
  ]
  const { storage } = listing([keyOf(name(1)), keyOf(name(2)), ...strays])
  const segments = await collect(listSegments(storage, WAL_CLUSTER, 1))
  assert.deepEqual(
    segments.map((segment) => segment.name),
    [name(1), name(2)],
  )
})

test('a name that no segment of that size has is an error', async () => {
  await assert.rejects(listRanges(stored(['000000010000000000001000']), WAL_CLUSTER, 1), { code: 'damaged' })
})

/** Numbers of stored segments, as runs of [first, last]. */
const ENDS: readonly { name: string; runs: readonly [number, number][]; listings: number }[] = [
  { name: 'nothing', runs: [], listings: 1 },
  { name: 'one segment', runs: [[77, 77]], listings: 1 },
  { name: 'less than a page', runs: [[1, 999]], listings: 1 },
  { name: 'a page', runs: [[1, 1000]], listings: 4 },
  { name: 'a page and one more', runs: [[1, 1001]], listings: 4 },
  { name: 'many pages', runs: [[5, 40_000]], listings: 16 },
  {
    name: 'many pages with gaps, large and small',
    runs: [
      [5, 3000],
      [9000, 12_345],
      [12_347, 20_000],
      [90_000, 90_001],
    ],
    listings: 16,
  },
  { name: 'the highest that there can be', runs: [[2 ** 44 - 1, 2 ** 44 - 1]], listings: 1 },
]
for (const { name: what, runs, listings } of ENDS) {
  test(`findWalEnd() of ${what} asks at most ${listings} times, and never reads on`, async () => {
    const numbers = runs.flatMap(([first, last]) =>
      Array.from({ length: last - first + 1 }, (_, index) => first + index),
    )
    const { storage, asked } = listing(numbers.map((number) => keyOf(name(number))))
    const end = await findWalEnd(storage, WAL_CLUSTER, 1)
    assert.equal(end?.last.number, numbers.length === 0 ? undefined : BigInt(numbers.at(-1)!))
    assert.ok(asked.listings <= listings, `${asked.listings} listings`)
    assert.ok(asked.names <= asked.listings * 1000, `${asked.names} names in ${asked.listings} listings`)
  })
}
