import { ToolError } from '#src/errors.js'
import {
  HEAD_BYTES,
  parseWalObjectHead,
  lookAtWalFile,
  WalCompressor,
  WalObjectBody,
  walObjectBound,
} from '#src/repository/wal-object.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { appendFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { after, test } from 'node:test'

const NAME = '000000010000000000000001'
const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-wal-'))
const file = path.join(home, NAME)
after(() => rmSync(home, { recursive: true }))

/** Large enough for the whole object of each file here. */
const WHOLE = 32 * 1024 * 1024

/** The object, taken in pieces of that size. */
async function pack(room: number, { before, meanwhile }: PackOptions = {}): Promise<Buffer> {
  const facts = await lookAtWalFile(file)
  before?.()
  const source = new WalObjectBody(NAME, file, facts, new WalCompressor(1))
  const pieces: Buffer[] = []
  try {
    for (;;) {
      const piece = Buffer.alloc(room)
      const filled = await source.fill(piece)
      pieces.push(piece.subarray(0, filled))
      if (filled < room) return Buffer.concat(pieces)
      meanwhile?.()
    }
  } finally {
    source.close()
  }
}

interface PackOptions {
  /** Done when the file was looked at, and when a piece was taken. */
  before?: () => void
  meanwhile?: () => void
}

for (const [what, content] of [
  ['an empty file', Buffer.alloc(0)],
  ['a history file', Buffer.from('1\t0/3000000\tno recovery target specified\n')],
  ['a segment of noise', randomBytes(9 * 1024 * 1024)],
  ['a segment of zeros', Buffer.alloc(16 * 1024 * 1024)],
  ['a segment of more than one frame', Buffer.alloc(65 * 1024 * 1024 + 1)],
] as const) {
  test(`the object of ${what} begins with its head, which zstd passes over, and holds its content`, async () => {
    writeFileSync(file, content)
    const sha256 = createHash('sha256').update(content).digest('hex')
    const { size, first } = await lookAtWalFile(file)
    assert.equal(size, content.length)
    assert.ok(first.equals(content.subarray(0, 64)))
    for (const room of [600, 65536, WHOLE]) {
      const object = await pack(room)
      assert.ok(object.length <= walObjectBound(content.length))
      assert.deepEqual(parseWalObjectHead(object.subarray(0, HEAD_BYTES), 'key'), {
        name: NAME,
        size: content.length,
        sha256,
      })
      if (content.length === 0) continue
      const pieces: Buffer[] = []
      for await (const piece of decompress(Readable.from([object]), [new Uint8Array(1 << 20)], 'key'))
        pieces.push(Buffer.from(piece))
      assert.ok(Buffer.concat(pieces).equals(content))
    }
  })
}

const CONTENT = randomBytes(9 * 1024 * 1024)
for (const [what, change] of [
  ['longer', () => appendFileSync(file, 'x')],
  ['shorter', () => truncateSync(file, CONTENT.length - 1)],
  ['another', () => writeFileSync(file, randomBytes(CONTENT.length))],
] as const) {
  test(`a file that is ${what} than the one that was looked at is not stored (A13)`, async () => {
    writeFileSync(file, CONTENT)
    await assert.rejects(pack(WHOLE, { before: change }), /"000000010000000000000001" changed while it was read/)
  })

  test(`a file that is ${what} than the one that was hashed is not stored (A13)`, async () => {
    writeFileSync(file, CONTENT)
    const changed = /"000000010000000000000001" changed while it was read/
    await assert.rejects(pack(65536, { meanwhile: change }), changed)
  })
}

test('a compressor that was left in the middle of a file begins the next one afresh', async () => {
  const compressor = new WalCompressor(1)
  writeFileSync(file, randomBytes(3 * 1024 * 1024))
  await withBody(compressor, (body) => body.fill(Buffer.alloc(1024 * 1024)))
  writeFileSync(file, 'next')
  const object = Buffer.alloc(4096)
  const filled = await withBody(compressor, (body) => body.fill(object))
  const pieces: Buffer[] = []
  for await (const piece of decompress(Readable.from([object.subarray(0, filled)]), [new Uint8Array(1 << 20)], 'key'))
    pieces.push(Buffer.from(piece))
  assert.equal(Buffer.concat(pieces).toString(), 'next')
})

async function withBody<T>(compressor: WalCompressor, use: (body: WalObjectBody) => Promise<T>): Promise<T> {
  const body = new WalObjectBody(NAME, file, await lookAtWalFile(file), compressor)
  try {
    return await use(body)
  } finally {
    body.close()
  }
}

test('parseWalObjectHead() waits for the whole head, and never for more', async () => {
  writeFileSync(file, 'x')
  const object = await pack(65536)
  const length = 8 + object.readUInt32LE(4)
  for (let bytes = 0; bytes < length; bytes++)
    assert.equal(parseWalObjectHead(object.subarray(0, bytes), 'key'), undefined)
  assert.ok(parseWalObjectHead(object.subarray(0, length), 'key'))
})

function headed(text: string, magic = 0x184d2a50): Buffer {
  const head = Buffer.alloc(8 + text.length)
  head.writeUInt32LE(magic, 0)
  head.writeUInt32LE(text.length, 4)
  head.write(text, 8)
  return head
}

for (const [what, bytes] of [
  ['garbage', Buffer.from('garbage, not a head')],
  ['another skippable frame', headed('{}', 0x184d2a5e)],
  ['a head that is far too long', headed('x'.repeat(600))],
  ['no JSON', headed('{name')],
  ['no hash', headed('{"name":"a","size":1}')],
  ['a hash that is none', headed('{"name":"a","size":1,"sha256":"abc"}')],
  ['a size that is text', headed(`{"name":"a","size":"1","sha256":"${'0'.repeat(64)}"}`)],
] as const) {
  test(`parseWalObjectHead() takes ${what} for damage`, () => {
    assert.throws(
      () => parseWalObjectHead(bytes, 'some/key'),
      (error) =>
        error instanceof ToolError && error.code === 'damaged' && error.message.startsWith('"some/key" is damaged'),
    )
  })
}
