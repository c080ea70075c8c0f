/**
 * The contract of Storage as tests: one for each of its sentences, for every implementation and every store.
 *
 * What only some bodies show (single request or parts) is run for each way that a body can travel.
 */
import { NotFoundError, ExistsError, ToolError } from '#src/errors.js'
import type { PartSource, PutOptions, Storage } from '#src/storage/storage.js'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'

/** A storage to test, and what its owner can tell about it. */
export interface OpenedStorage {
  storage: Storage
  cleanup: () => Promise<void>
  /** Multipart uploads (or temporary files) that are left, where that can be told. */
  countUnfinished: () => Promise<number>
}

/** Facts about a store that change what is expected of it. */
export interface ContractOptions {
  /**
   * Whether `ifAbsent` is atomic. Default true. `sequential`: the store refuses a key that is taken, but may let several
   * writers of one moment win: LocalStack looks and stores in two steps when it completes an upload.
   */
  isAtomic?: boolean | 'sequential'
  /** Keys of one page of its listings. Default 1000. */
  pageSize?: number
}

const MIB = 1024 * 1024
/** What the storages under test are opened with. */
export const PART_SIZE_BYTES = 5 * MIB
/** Above the size that goes in one request, so that parts are used. */
const MULTIPART_BOUND = 64 * MIB

type BodyKind = 'bytes' | 'stream' | 'part source'

/** Bytes, a stream of pieces of odd length, or a source that is filled. */
function bodyOf(kind: BodyKind, content: Buffer): Uint8Array | Readable | PartSource {
  if (kind === 'bytes') return content
  if (kind === 'part source') return sourceOf(content)
  return Readable.from(
    (function* () {
      for (let start = 0; start < content.length; start += 70_001) yield content.subarray(start, start + 70_001)
    })(),
    { objectMode: false },
  )
}

function sourceOf(content: Buffer, onFill?: (buffer: Uint8Array, position: number) => void): PartSource {
  let position = 0
  return {
    fill(buffer) {
      onFill?.(buffer, position)
      const piece = content.subarray(position, position + buffer.length)
      buffer.fill(0xee) // what is left of an earlier part must not matter
      buffer.set(piece)
      position += piece.length
      return Promise.resolve(piece.length)
    },
  }
}

export function storageContract(
  name: string,
  open: () => Promise<OpenedStorage>,
  { isAtomic = true, pageSize = 1000 }: ContractOptions = {},
): void {
  describe(name, () => {
    let opened: OpenedStorage
    let storage: Storage
    before(async () => {
      opened = await open()
      storage = opened.storage
    })
    after(async () => {
      storage.close()
      await opened.cleanup()
    })

    const read = async (key: string, options?: Parameters<Storage['get']>[1]): Promise<Buffer> => {
      const chunks: Uint8Array[] = []
      for await (const chunk of await storage.get(key, options)) chunks.push(chunk as Uint8Array)
      return Buffer.concat(chunks)
    }
    const listed = async (prefix: string, options?: { startAfter?: string }): Promise<string[]> => {
      const keys: string[] = []
      for await (const { key } of storage.list(prefix, options)) keys.push(key)
      return keys
    }
    const assertNothingAt = async (key: string): Promise<void> => {
      await assert.rejects(storage.get(key), NotFoundError)
      assert.equal(await storage.head(key), undefined)
      assert.equal(await opened.countUnfinished(), 0)
    }

    const sizes = {
      'an empty body': 0,
      'a short body': 1000,
      'a body of exactly one part': PART_SIZE_BYTES,
      'a body of one part and a byte': PART_SIZE_BYTES + 1,
      'a body of several parts': 3 * PART_SIZE_BYTES + 12_345,
    }
    for (const kind of ['bytes', 'stream', 'part source'] as const) {
      for (const [what, size] of Object.entries(sizes)) {
        for (const maxSize of [Math.max(size, 1), MULTIPART_BOUND]) {
          const bound = maxSize === MULTIPART_BOUND ? 'a generous bound' : 'an exact bound'
          test(`put() stores ${what} from ${kind} with ${bound}`, async () => {
            const key = `sizes/${kind.replace(' ', '-')}/${size}-${maxSize}`
            const content = randomBytes(size)
            const stored = await storage.put(key, bodyOf(kind, content), { maxSize })
            assert.equal(stored.key, key)
            assert.equal(stored.size, size)
            assert.ok(Math.abs(stored.lastModified.getTime() - Date.now()) < 60 * 60 * 1000)
            assert.ok((await read(key)).equals(content))
            assert.equal((await storage.head(key))?.size, size)
            assert.equal(await opened.countUnfinished(), 0)
          })
        }
      }
    }

    for (const at of [0, 1000, 2 * PART_SIZE_BYTES]) {
      test(`put() leaves nothing of a stream that fails after ${at} bytes, and rejects with its error`, async () => {
        const failure = new Error('the source broke')
        const body = Readable.from(failingAfter(at, failure), { objectMode: false })
        await assert.rejects(storage.put(`failing/stream-${at}`, body, { maxSize: MULTIPART_BOUND }), failure)
        await assertNothingAt(`failing/stream-${at}`)
      })

      test(`put() leaves nothing of a part source that fails after ${at} bytes, and rejects with its error`, async () => {
        const failure = new Error('the source broke')
        let filled = 0
        const fill: PartSource['fill'] = (buffer) => {
          if (filled >= at) return Promise.reject(failure)
          filled += buffer.length
          return Promise.resolve(buffer.length)
        }
        await assert.rejects(storage.put(`failing/source-${at}`, { fill }, { maxSize: MULTIPART_BOUND }), failure)
        await assertNothingAt(`failing/source-${at}`)
      })
    }

    test('put() leaves the old object when the new body fails', async () => {
      await storage.put('failing/old', Buffer.from('old'))
      const body = Readable.from(failingAfter(2 * PART_SIZE_BYTES, new Error('broke')), { objectMode: false })
      await assert.rejects(storage.put('failing/old', body))
      assert.equal((await read('failing/old')).toString(), 'old')
      await storage.delete(['failing/old'])
    })

    for (const kind of ['stream', 'part source'] as const) {
      test(`put() refuses a ${kind} that is longer than its bound`, async () => {
        const body = bodyOf(kind, randomBytes(2 * PART_SIZE_BYTES))
        await assert.rejects(storage.put('failing/long', body, { maxSize: PART_SIZE_BYTES }), ToolError)
        await assertNothingAt('failing/long')
      })

      test(`put() of a ${kind} that is aborted rejects with the reason and leaves no upload`, async () => {
        const controller = new AbortController()
        const reason = new ToolError('interrupted', 'interrupted by the test')
        const endless = (filled: number): void => {
          if (filled >= 2 * PART_SIZE_BYTES) controller.abort(reason)
        }
        const body = kind === 'stream' ? endlessStream(endless) : endlessSource(endless)
        const options: PutOptions = { maxSize: 1024 * MIB, signal: controller.signal }
        await assert.rejects(storage.put('failing/aborted', body, options), reason)
        await assertNothingAt('failing/aborted')
      })

      test(`put() of a ${kind} that never comes can be aborted`, async () => {
        const controller = new AbortController()
        const reason = new ToolError('interrupted', 'interrupted by the test')
        const waiting = (): void => {
          setImmediate(() => {
            controller.abort(reason)
          })
        }
        const body =
          kind === 'stream'
            ? new Readable({ read: waiting })
            : { fill: () => (waiting(), new Promise<number>(() => undefined)) }
        await assert.rejects(storage.put('failing/waiting', body, { maxSize: 1, signal: controller.signal }), reason)
        await assertNothingAt('failing/waiting')
      })
    }

    test('put() does not begin when its signal is aborted already', async () => {
      const reason = new Error('before')
      const options = { signal: AbortSignal.abort(reason), maxSize: 10 }
      for (const kind of ['bytes', 'stream', 'part source'] as const) {
        await assert.rejects(storage.put('failing/before', bodyOf(kind, Buffer.from('x')), options), reason)
      }
      await assertNothingAt('failing/before')
    })

    test('put() without ifAbsent replaces', async () => {
      await storage.put('replaced', Buffer.from('first'))
      await storage.put('replaced', Buffer.from('the second'))
      assert.equal((await read('replaced')).toString(), 'the second')
      await storage.delete(['replaced'])
    })

    for (const [how, size] of [
      ['one request', 100],
      ['parts', 2 * PART_SIZE_BYTES],
    ] as const) {
      test(`put() with ifAbsent through ${how} rejects where the key is taken, and changes nothing`, async () => {
        const key = `once/${size}`
        const content = randomBytes(size)
        const options = { ifAbsent: true, maxSize: MULTIPART_BOUND }
        for (const kind of ['part source', 'stream', 'bytes'] as const) {
          await storage.put(key, bodyOf(kind, content), options)
          await assert.rejects(storage.put(key, bodyOf(kind, randomBytes(size)), options), ExistsError)
          assert.ok((await read(key)).equals(content))
          await storage.delete([key])
        }
        assert.equal(await opened.countUnfinished(), 0)
      })

      if (isAtomic === false) continue
      const wins =
        isAtomic === 'sequential'
          ? 'leaves what one of several writers stored'
          : 'lets exactly one of several writers win'
      test(`put() with ifAbsent through ${how} ${wins}`, async () => {
        const key = `race/${size}`
        const contents = Array.from({ length: 4 }, () => randomBytes(size))
        const options = { ifAbsent: true, maxSize: MULTIPART_BOUND }
        const outcomes = await Promise.allSettled(
          contents.map((content) => storage.put(key, bodyOf('part source', content), options)),
        )
        const winners = outcomes.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []))
        for (const outcome of outcomes)
          if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof ExistsError)
        if (isAtomic === true) assert.equal(winners.length, 1)
        const stored = await read(key)
        assert.ok(winners.some((winner) => contents[winner]?.equals(stored)))
        assert.equal(await opened.countUnfinished(), 0)
        await storage.delete([key])
      })
    }

    test('put() fills the same few buffers again and again', async () => {
      const seen = new Set<ArrayBufferLike>()
      const content = randomBytes(8 * PART_SIZE_BYTES)
      const source = sourceOf(content, (buffer) => seen.add(buffer.buffer))
      await storage.put('buffers', source, { maxSize: MULTIPART_BOUND })
      assert.ok(seen.size <= 3, `${seen.size} buffers were used`)
      assert.ok((await read('buffers')).equals(content))
      await storage.delete(['buffers'])
    })

    test('get() gives ranges of an object', async () => {
      const content = randomBytes(1000)
      await storage.put('ranges', content)
      assert.ok((await read('ranges', { offset: 10 })).equals(content.subarray(10)))
      assert.ok((await read('ranges', { offset: 10, length: 20 })).equals(content.subarray(10, 30)))
      assert.ok((await read('ranges', { length: 5 })).equals(content.subarray(0, 5)))
      assert.ok((await read('ranges', { offset: 999, length: 1 })).equals(content.subarray(999)))
    })

    test('get() gives what there is of a range that reaches past the end, and nothing of one behind it', async () => {
      const content = randomBytes(1000)
      await storage.put('ranges', content)
      assert.ok((await read('ranges', { offset: 990, length: 100 })).equals(content.subarray(990)))
      assert.equal((await read('ranges', { offset: 1000 })).length, 0)
      assert.equal((await read('ranges', { offset: 1000, length: 10 })).length, 0)
      assert.equal((await read('ranges', { offset: 500, length: 0 })).length, 0)
      await storage.delete(['ranges'])
    })

    test('get() rejects with NotFoundError before any byte', async () => {
      await assert.rejects(storage.get('no/such/key'), (error) => {
        assert.ok(error instanceof NotFoundError)
        assert.equal(error.key, 'no/such/key')
        return true
      })
      await assert.rejects(storage.get('no/such/key', { offset: 10, length: 0 }), NotFoundError)
    })

    test('get() can be aborted in mid-body, and then fails with the reason', async () => {
      await storage.put('large', randomBytes(4 * PART_SIZE_BYTES))
      const controller = new AbortController()
      const reason = new Error('enough')
      const stream = await storage.get('large', { signal: controller.signal })
      await assert.rejects(async () => {
        for await (const chunk of stream) {
          assert.ok((chunk as Uint8Array).length > 0)
          controller.abort(reason)
        }
      }, reason)
      assert.ok(stream.destroyed)
    })

    test('get() gives a stream that can be destroyed unread', async () => {
      const stream = await storage.get('large')
      const closed = new Promise((resolve) => stream.once('close', resolve))
      stream.destroy()
      await closed
      await storage.delete(['large'])
    })

    test('head() gives size and time, or undefined', async () => {
      await storage.put('head', Buffer.from('12345'))
      const found = await storage.head('head')
      assert.equal(found?.key, 'head')
      assert.equal(found.size, 5)
      assert.ok(found.lastModified instanceof Date)
      await storage.delete(['head'])
      assert.equal(await storage.head('head'), undefined)
    })

    test('list() gives every key once in byte order over more than a page, and starts after a key', async () => {
      const count = pageSize + 5
      const keys = Array.from({ length: count }, (_, index) => `pages/${String(index).padStart(6, '0')}`)
      for (let start = 0; start < count; start += 50) {
        await Promise.all(keys.slice(start, start + 50).map((key) => storage.put(key, Buffer.from('x'))))
      }
      assert.deepEqual(await listed('pages/'), keys)
      assert.deepEqual(await listed('pages/', { startAfter: keys[count - 3] ?? '' }), keys.slice(-2))
      assert.deepEqual(await listed('pages/', { startAfter: 'pages/000002x' }), keys.slice(3))
      assert.deepEqual(await listed('pages/00000'), keys.slice(0, 10))
      assert.deepEqual(await listed('nothing/'), [])
    })

    test('delete() takes more keys than one request holds, and missing ones', async () => {
      const keys = await listed('pages/')
      const more = Array.from({ length: Math.max(0, 1001 - keys.length) }, (_, index) => `pages/missing-${index}`)
      await storage.delete([...keys, ...more])
      await storage.delete(['pages/000000', 'never/was'])
      await storage.delete([])
      assert.deepEqual(await listed('pages/'), [])
    })

    test('keys with odd characters are kept as they are', async () => {
      const names = [
        'a b',
        'a+b',
        'a%2Fb',
        'a&b<c>',
        "it's",
        'ünï',
        '日本',
        '😀',
        'a=b@c:d,e;f',
        '(x)!~*',
        '.hidden',
        '"q"',
      ]
      const keys = names.map((text) => `odd/${text}`)
      for (const key of keys) await storage.put(key, Buffer.from(key))
      for (const key of keys) assert.equal((await read(key)).toString(), key)
      assert.deepEqual(
        await listed('odd/'),
        [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
      )
      await storage.delete(keys)
      assert.deepEqual(await listed('odd/'), [])
    })

    test('list() orders a folder by the slash that ends its name', async () => {
      const keys = ['order/a-b', 'order/a/b', 'order/a0', 'order/b', '\uFF5E', '\u{1F600}'].map((key) => `o/${key}`)
      for (const key of keys) await storage.put(key, Buffer.from('x'))
      assert.deepEqual(await listed('o/'), keys)
      await storage.delete(keys)
    })
  })
}

function* failingAfter(size: number, error: Error): Generator<Buffer> {
  for (let sent = 0; sent < size; sent += 100_000) yield Buffer.alloc(Math.min(100_000, size - sent), 1)
  throw error
}

function endlessStream(onSize: (size: number) => void): Readable {
  let size = 0
  return new Readable({
    read() {
      size += 100_000
      onSize(size)
      if (!this.destroyed) this.push(Buffer.alloc(100_000))
    },
  })
}

function endlessSource(onSize: (size: number) => void): PartSource {
  let size = 0
  return {
    fill(buffer) {
      size += buffer.length
      onSize(size)
      return Promise.resolve(buffer.length)
    },
  }
}
