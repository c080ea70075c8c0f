import { parseWalFileName, segmentName } from '#src/postgres/wal-segment.js'
import { walKey } from '#src/repository/layout.js'
import { segmentsOfPath } from '#src/repository/timeline-tree.js'
import { lookUntilFilled } from '#src/repository/wal-on-the-way.js'
import type { PathGap } from '#src/repository/wal-path.js'
import type { Storage, StoredObject } from '#src/storage/storage.js'
import { WAL_CLUSTER } from './wal-scene.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const nameOf = (number: number): string => segmentName(1, BigInt(number), WAL_CLUSTER.walSegmentSize)
const MINUTE = 60_000

/** An archive of one timeline: what is stored, by number, and how many milliseconds ago. */
function archiveOf(ages: Map<number, number>): Storage {
  async function* list(prefix: string, { startAfter = '' } = {}): AsyncGenerator<StoredObject> {
    for (const [number, age] of [...ages].sort(([a], [b]) => a - b)) {
      const key = walKey(WAL_CLUSTER.name, parseWalFileName(nameOf(number))!)
      if (!key.startsWith(prefix) || key <= startAfter) continue
      yield await Promise.resolve({ key, size: 1, lastModified: new Date(Date.now() - age) })
    }
  }
  return { list } as unknown as Storage
}

/** Looks along timeline 1 from segment 2; before each look but the first `change` is called. */
async function look(
  ages: Map<number, number>,
  change: (looks: number) => void,
  signal?: AbortSignal,
): Promise<{ gap: PathGap | undefined; looks: number }> {
  const storage = archiveOf(ages)
  const path = [{ timeline: 1, from: BigInt(2 * WAL_CLUSTER.walSegmentSize), to: undefined }]
  let looks = 0
  const { firstGap: gap } = await lookUntilFilled(
    storage,
    WAL_CLUSTER,
    () => {
      if (looks++ > 0) change(looks)
      return segmentsOfPath(storage, WAL_CLUSTER, path)
    },
    { gapsOf: ({ firstGap }) => [firstGap], signal },
  )
  return { gap, looks }
}

test('lookUntilFilled() looks again until the segment is there that others were stored before (I11)', async () => {
  const ages = new Map([2, 3, 5, 6].map((number) => [number, 0]))
  const { gap, looks } = await look(ages, (looks) => looks === 3 && ages.set(4, 0))
  assert.deepEqual([gap, looks], [undefined, 3])
})

test('lookUntilFilled() takes a hole for one whose other side has been there for a minute', async () => {
  const ages = new Map([2, 3, 5, 6].map((number) => [number, number === 6 ? 0 : MINUTE]))
  const { gap, looks } = await look(ages, () => assert.fail('one look is enough'))
  assert.deepEqual([gap?.missing, gap?.behind, looks], [nameOf(4), nameOf(5), 1])
})

test('lookUntilFilled() looks once where nothing is missing', async () => {
  const ages = new Map([2, 3, 4].map((number) => [number, 0]))
  assert.deepEqual(await look(ages, () => assert.fail('one look is enough')), { gap: undefined, looks: 1 })
})

test('lookUntilFilled() gives the hole that is left when what lay behind it has grown old', async () => {
  const ages = new Map([2, 4].map((number) => [number, 0]))
  const { gap, looks } = await look(ages, () => ages.set(4, MINUTE))
  assert.deepEqual([gap?.missing, looks], [nameOf(3), 2])
})

test('lookUntilFilled() stops when it is aborted', async () => {
  const ages = new Map([2, 4].map((number) => [number, 0]))
  const reason = new Error('enough')
  const abort = new AbortController()
  const looking = look(ages, () => abort.abort(reason), abort.signal)
  await assert.rejects(looking, { name: 'AbortError', cause: reason })
})
