import { createFromStream } from '#src/repository/create-stream.js'
import { createFromTexts } from '#src/repository/create-text.js'
import { ToolError } from '#src/errors.js'
import type { PartSource } from '#src/storage/storage.js'
import { textChunks } from '#src/streams/text-chunks.js'
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { MemoryStorage } from '../../support/memory-storage.js'

/** Pieces of a text whose characters take one to four bytes; none is cut, as five units repeat. */
function* pieces(length: number, ended?: () => void): Generator<string> {
  const text = 'aü数\u{1f418}'.repeat(Math.ceil(length / 5)).slice(0, length)
  try {
    for (let at = 0; at < text.length; at += 70_000) yield text.slice(at, at + 70_000)
  } finally {
    ended?.()
  }
}

async function* encoded(texts: Iterable<string>): AsyncGenerator<Buffer> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text))
}

const ways = [
  ['createFromTexts', createFromTexts],
  [
    'createFromStream',
    (storage: MemoryStorage, key: string, texts: Iterable<string>) => createFromStream(storage, key, encoded(texts)),
  ],
] as const

for (const [name, create] of ways) {
  for (const length of [0, 1, 70_001, 3_000_000]) {
    test(`${name}() stores text of ${length} units, and tells size and hash of its bytes`, async () => {
      const storage = new MemoryStorage()
      const bytes = Buffer.from([...pieces(length)].join(''))
      const object = await create(storage, 'a', pieces(length))
      assert.deepEqual(object, {
        key: 'a',
        size: bytes.length,
        sha256: createHash('sha256').update(bytes).digest('hex'),
      })
      assert.ok(storage.objects.get('a')?.bytes.equals(bytes))
    })
  }

  test(`${name}() takes what exists for its own write where it is the same, and for a conflict otherwise`, async () => {
    const storage = new MemoryStorage()
    const { size } = await create(storage, 'a', pieces(200_000))
    assert.equal((await create(storage, 'a', pieces(200_000))).size, size)
    await assert.rejects(create(storage, 'a', pieces(200_001)), (error) => {
      return (
        error instanceof ToolError &&
        error.code === 'conflict' &&
        error.message === '"a" exists already with other content'
      )
    })
    assert.equal(storage.objects.get('a')?.bytes.length, size, 'what was there stays')
  })

  test(`${name}() stores nothing of texts that fail`, async () => {
    const storage = new MemoryStorage()
    const failure = new Error('the texts failed')
    function* failing(): Generator<string> {
      yield 'some'
      throw failure
    }
    await assert.rejects(create(storage, 'a', failing()), failure)
    assert.equal(storage.objects.size, 0)
  })
}

test('createFromTexts() ends the texts that nobody wants any more', async () => {
  const storage = new MemoryStorage()
  const failure = new Error('full')
  storage.put = async (_key, body) => {
    await (body as PartSource).fill(Buffer.alloc(10))
    throw failure
  }
  let ended = 0
  await assert.rejects(
    createFromTexts(
      storage,
      'a',
      pieces(200_000, () => ended++),
    ),
    failure,
  )
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
