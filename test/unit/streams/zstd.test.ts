import { ToolError } from '#src/errors.js'
import {
  compressedBound,
  FrameCompressor,
  seekTable,
  skippableFrame,
  type FrameSizes,
} from '#src/streams/zstd-compress.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import { compressStream } from '#src/streams/zstd-stream.js'
import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { test } from 'node:test'

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  await Promise.resolve()
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function decompressed(bytes: Uint8Array, pieces = 65536, room = 65536): Promise<Buffer> {
  const out: Buffer[] = []
  for await (const piece of decompress(inPieces(bytes, pieces), [new Uint8Array(room)], 'object'))
    out.push(Buffer.from(piece))
  return Buffer.concat(out)
}

/** Compresses each source into a frame, in rooms of random sizes up to `room`. */
function compressed(
  sources: readonly Uint8Array[],
  room = 1 << 20,
  level = 1,
): { bytes: Buffer; frames: FrameSizes[] } {
  const compressor = new FrameCompressor({ level })
  const out: Buffer[] = []
  for (const source of sources) {
    compressor.begin(source)
    while (compressor.open) {
      const piece = Buffer.alloc(room <= 4 ? room : randomInt(1, room))
      out.push(piece.subarray(0, compressor.drain(piece)))
    }
  }
  return { bytes: Buffer.concat(out), frames: [...compressor.frames] }
}

function mixed(size: number): Buffer {
  return Buffer.concat([randomBytes(Math.ceil(size / 2)), Buffer.alloc(size, 'text ')]).subarray(0, size)
}

test('FrameCompressor and decompress() give back any input, whatever the sizes of the rooms in between', async () => {
  for (let round = 0; round < 40; round++) {
    const sources = Array.from({ length: randomInt(1, 6) }, () => mixed(randomInt(0, 50_000)))
    const { bytes, frames } = compressed(sources, randomInt(5, 5000), randomInt(1, 5))
    const found = await decompressed(bytes, randomInt(1, 5000), randomInt(1, 70_000))
    assert.ok(found.equals(Buffer.concat(sources)))
    assert.deepEqual(
      frames.map(({ size }) => size),
      sources.map(({ length }) => length),
    )
    assert.equal(
      frames.reduce((sum, { compressedSize }) => sum + compressedSize, 0),
      bytes.length,
    )
    const total = sources.reduce((sum, { length }) => sum + length, 0)
    assert.ok(bytes.length <= compressedBound(total, sources.length), 'the bound holds')
  }
})

test('FrameCompressor writes into rooms of a single byte', async () => {
  const source = mixed(3000)
  const { bytes } = compressed([source], 1)
  assert.ok((await decompressed(bytes, 1, 1)).equals(source))
})

test('decompress() gives each frame that fits whole, from the start of the buffer', async () => {
  const sources = [mixed(1000), mixed(65536), mixed(10)]
  const buffer = new Uint8Array(65536)
  const sizes: number[] = []
  for await (const piece of decompress(inPieces(compressed(sources).bytes, 777), [buffer], 'object')) {
    assert.equal(piece.byteOffset, buffer.byteOffset)
    sizes.push(piece.length)
  }
  assert.deepEqual(sizes, [1000, 65536, 10])
})

test('decompress() never holds more than its buffer, however much a frame of zeros becomes', async () => {
  const { bytes } = compressed([new Uint8Array(16 * 1024 * 1024)])
  assert.ok(bytes.length < 10_000)
  let total = 0
  for await (const piece of decompress(inPieces(bytes, 1 << 20), [new Uint8Array(4096)], 'object')) {
    assert.ok(piece.length <= 4096)
    total += piece.length
  }
  assert.equal(total, 16 * 1024 * 1024)
})

const isDamaged = (error: unknown): boolean => {
  assert.ok(error instanceof ToolError)
  assert.equal(error.code, 'damaged')
  assert.match(error.message, /^could not decompress "object": /)
  return true
}

test('decompress() rejects a frame that is cut at any byte (V3)', async () => {
  const { bytes } = compressed([mixed(300)])
  for (let length = 0; length < bytes.length; length++) {
    await assert.rejects(decompressed(bytes.subarray(0, length), 64), isDamaged, `${length} of ${bytes.length} bytes`)
  }
})

test('decompress() rejects a frame of which any byte is changed', async () => {
  const source = mixed(300)
  const { bytes } = compressed([source])
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 0x10
    // bit 4 of the frame header's descriptor is "unused": zstd passes over it
    const found = await decompressed(changed).catch((error: unknown) => (isDamaged(error) ? undefined : undefined))
    assert.ok(found === undefined || (at === 4 && found.equals(source)), `byte ${at}`)
  }
})

for (const [name, bytes, says] of [
  ['nothing', Buffer.alloc(0), /it is empty/],
  ['garbage', Buffer.from('this is not zstd, whatever it says'), /Unknown frame|prefix/i],
  ['zeros', Buffer.alloc(100), /Unknown frame|prefix/i],
  [
    'a frame and garbage',
    Buffer.concat([compressed([mixed(10)]).bytes, Buffer.from('garbage!')]),
    /Unknown frame|prefix/i,
  ],
] as const) {
  test(`decompress() rejects ${name}`, async () => {
    await assert.rejects(decompressed(bytes), (error) => isDamaged(error) && says.test((error as Error).message))
  })
}

test('decompress() passes over skippable frames: the seek table, the head of a WAL object', async () => {
  const source = mixed(5000)
  const { bytes, frames } = compressed([source])
  const whole = Buffer.concat([skippableFrame(Buffer.from('head'), 0x184d2a50), bytes, seekTable(frames)])
  assert.ok((await decompressed(whole)).equals(source))
})

test("seekTable() is zstd's seekable format: entries, their number, no checksums, the magic number at the very end", () => {
  const table = seekTable([
    { compressedSize: 10, size: 100 },
    { compressedSize: 20, size: 2 ** 23 },
  ])
  assert.equal(table.readUInt32LE(0), 0x184d2a5e)
  assert.equal(table.readUInt32LE(4), table.length - 8)
  assert.deepEqual(
    [8, 12, 16, 20].map((at) => table.readUInt32LE(at)),
    [10, 100, 20, 2 ** 23],
  )
  assert.equal(table.readUInt32LE(24), 2)
  assert.equal(table.readUInt8(28), 0)
  assert.equal(table.readUInt32LE(29), 0x8f92eab1)
  assert.equal(table.length, 33)
})

test('compressStream() gives back any chunks, in pieces of at most 128 KiB', async () => {
  for (const sizes of [[], [0], [1], [1 << 20], [3_000_000, 5, 70_000]]) {
    const chunks = sizes.map(mixed)
    const pieces: Buffer[] = []
    for await (const piece of compressStream(chunks, { level: 3 })) pieces.push(piece)
    assert.ok(pieces.every(({ length }) => length <= 128 * 1024))
    assert.ok((await decompressed(Buffer.concat(pieces))).equals(Buffer.concat(chunks)))
  }
})

test('decompress() leaves the checksums of frames to whoever compares the content otherwise', async () => {
  const source = mixed(100_000)
  const { bytes } = compressed([source])
  bytes[bytes.length - 1]! ^= 1
  await assert.rejects(decompressed(bytes), /could not decompress "object": .*checksum/i)
  const out: Buffer[] = []
  for await (const piece of decompress(inPieces(bytes, 777), [new Uint8Array(1 << 20)], 'it', { checksums: false }))
    out.push(Buffer.from(piece))
  assert.ok(Buffer.concat(out).equals(source))
})
