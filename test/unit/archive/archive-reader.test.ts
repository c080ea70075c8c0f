import { ArchiveReader } from '#src/archive/archive-reader.js'
import { ToolError } from '#src/errors.js'
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { GetOptions, Storage, StoredObject } from '#src/storage/storage.js'

const MIB = 1024 * 1024
const signal = new AbortController().signal

/** A store at some distance, on a clock of its own, that keeps every body until it is let go. */
function farStore(bytes: Buffer, ms: number, fault?: (offset: number) => Buffer | Error | undefined) {
  const clock = { ms: 0 }
  const asked: number[] = []
  const held: (() => void)[] = []
  const storage: Pick<Storage, 'get' | 'head'> = {
    head: (key) => {
      clock.ms += ms
      return Promise.resolve({ key, size: bytes.length, lastModified: new Date(0) } satisfies StoredObject)
    },
    get: async (_key, { offset, length, signal: abort }: GetOptions = {}) => {
      asked.push(offset ?? -1)
      if (offset !== undefined) {
        await new Promise<void>((resolve, reject) => {
          held.push(resolve)
          abort?.addEventListener('abort', () => {
            reject(abort.reason as Error)
          })
        })
      }
      const broken = fault?.(offset ?? 0)
      if (broken instanceof Error) throw broken
      const piece = broken ?? bytes.subarray(offset ?? 0, length === undefined ? undefined : (offset ?? 0) + length)
      return Readable.from([piece.subarray(0, 1000), piece.subarray(1000)], { objectMode: false })
    },
  }
  /** The last first: ranges must come out in order all the same. */
  const release = (): void => {
    for (const resolve of held.splice(0).reverse()) resolve()
  }
  return { storage, asked, held, release, now: () => clock.ms }
}

const pattern = (size: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: size }, (_, at) => (at * 31 + (at >> 11)) & 255))

async function readAll(reader: ArchiveReader, size: number, release: () => void): Promise<Buffer> {
  const pieces: Buffer[] = []
  const timer = setInterval(release, 1)
  try {
    for await (const piece of reader.read('archive', size, signal)) pieces.push(Buffer.from(piece))
  } finally {
    clearInterval(timer)
  }
  return Buffer.concat(pieces)
}

test('ArchiveReader reads a near archive as one stream, whatever memory it has', async () => {
  const bytes = pattern(5 * MIB)
  const { storage, asked, release, now } = farStore(bytes, 3)
  const reader = new ArchiveReader(storage, { aheadBytes: 16 * MIB, now })
  assert.ok((await readAll(reader, bytes.length, release)).equals(bytes))
  assert.deepEqual(asked, [-1])
})

test('ArchiveReader reads a far archive in ranges ahead, as many as its memory holds, and gives them in order', async () => {
  const bytes = pattern(11 * MIB + 5)
  const { storage, asked, held, release, now } = farStore(bytes, 40)
  const reader = new ArchiveReader(storage, { aheadBytes: 9 * MIB, now })
  for (let archive = 0; archive < 2; archive++) {
    asked.length = 0
    let most = 0
    const all = await readAll(reader, bytes.length, () => {
      most = Math.max(most, held.length)
      release()
    })
    assert.ok(all.equals(bytes))
    assert.deepEqual(
      asked,
      [0, 2, 4, 6, 8, 10].map((at) => at * MIB),
    )
    assert.equal(most, 4, 'ranges at a time')
  }
})

test('ArchiveReader without memory for two ranges reads a far archive as one stream', async () => {
  const bytes = pattern(5 * MIB)
  const { storage, asked, release, now } = farStore(bytes, 200)
  assert.ok(
    (await readAll(new ArchiveReader(storage, { aheadBytes: 3 * MIB, now }), bytes.length, release)).equals(bytes),
  )
  assert.deepEqual(asked, [-1])
})

test('ArchiveReader says that an archive which ends in a range is damaged, and passes on what a range failed with', async () => {
  const bytes = pattern(9 * MIB)
  for (const [broken, says] of [
    [bytes.subarray(0, MIB), (error: unknown) => error instanceof ToolError && error.code === 'damaged'],
    [new Error('no route'), (error: unknown) => error instanceof Error && error.message === 'no route'],
  ] as const) {
    const { storage, held, release, now } = farStore(bytes, 40, (at) => (at === 4 * MIB ? broken : undefined))
    const reader = new ArchiveReader(storage, { aheadBytes: 8 * MIB, now })
    await assert.rejects(readAll(reader, bytes.length, release), says)
    held.length = 0
    const first = await reader.read('archive', 2 * MIB, signal).next()
    assert.ok(!first.done, 'a small archive is one stream')
  }
})

test('ArchiveReader lets no download go on when its reader stops or is aborted', async () => {
  const bytes = pattern(9 * MIB)
  const { storage, held, now } = farStore(bytes, 40)
  const controller = new AbortController()
  const pieces = new ArchiveReader(storage, { aheadBytes: 8 * MIB, now }).read('a', bytes.length, controller.signal)
  const first = pieces.next()
  first.catch(() => undefined)
  while (held.length < 4) await new Promise((resolve) => setImmediate(resolve))
  const reason = new Error('enough')
  controller.abort(reason)
  await assert.rejects(first, (error) => error === reason)
  assert.deepEqual(await pieces.next(), { done: true, value: undefined })
})
