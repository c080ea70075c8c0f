import { createFromStream } from '#src/repository/create-stream.js'
import { ToolError } from '#src/errors.js'
import { textChunks } from '#src/streams/text-chunks.js'
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { MemoryStorage } from '../../support/memory-storage.js'

/** Chunks of odd sizes, all in the same memory. */
function* inOneMemory(bytes: Buffer, ended?: () => void): Generator<Buffer> {
  const room = Buffer.alloc(70_001)
  try {
    for (let at = 0; at < bytes.length; at += room.length) {
      yield room.subarray(0, bytes.copy(room, 0, at, at + room.length))
    }
  } finally {
    ended?.()
  }
}

for (const size of [0, 1, 70_001, 3_000_000]) {
  test(`createFromStream() stores ${size} bytes that come in chunks of the same memory, and tells their size and hash`, async () => {
    const storage = new MemoryStorage()
    const bytes = randomBytes(size)
    const object = await createFromStream(storage, 'a', inOneMemory(bytes))
    assert.deepEqual(object, { key: 'a', size, sha256: createHash('sha256').update(bytes).digest('hex') })
    assert.ok(storage.objects.get('a')?.bytes.equals(bytes))
  })
}

test('createFromStream() takes what exists for its own write where it is the same, and for a conflict otherwise', async () => {
  const storage = new MemoryStorage()
  const bytes = randomBytes(200_000)
  await createFromStream(storage, 'a', inOneMemory(bytes))
  assert.equal((await createFromStream(storage, 'a', inOneMemory(bytes))).size, bytes.length)
  await assert.rejects(createFromStream(storage, 'a', inOneMemory(randomBytes(200_000))), (error) => {
    return (
      error instanceof ToolError &&
      error.code === 'conflict' &&
      error.message === '"a" exists already with other content'
    )
  })
  assert.ok(storage.objects.get('a')?.bytes.equals(bytes), 'what was there stays')
})

test('createFromStream() stores nothing of chunks that fail, and ends chunks that nobody wants any more', async () => {
  const storage = new MemoryStorage()
  const failure = new Error('the chunks failed')
  function* failing(): Generator<Buffer> {
    yield Buffer.alloc(100)
    throw failure
  }
  await assert.rejects(createFromStream(storage, 'a', failing()), failure)
  assert.equal(storage.objects.size, 0)
  let ended = 0
  storage.put = () => Promise.reject(failure)
  const chunks = inOneMemory(Buffer.alloc(10), () => ended++)
  chunks.next()
  await assert.rejects(createFromStream(storage, 'a', chunks), failure)
  assert.equal(ended, 1)
})

test('textChunks() gives the text as UTF-8, whatever the length of its pieces, in few chunks', () => {
  const pieces = [
    '',
    'a',
    'ü'.repeat(70_000),
    '\u{1f418}'.repeat(200_000),
    ...Array.from({ length: 9000 }, (_, n) => String(n)),
    '数',
  ]
  let chunks = 0
  const copies: Buffer[] = []
  for (const chunk of textChunks(pieces)) {
    chunks++
    copies.push(Buffer.from(chunk))
  }
  assert.equal(Buffer.concat(copies).toString(), pieces.join(''))
  assert.equal(chunks, 4, 'two of long pieces, what was before them, and all that is short')
  assert.deepEqual([...textChunks([])], [])
})
