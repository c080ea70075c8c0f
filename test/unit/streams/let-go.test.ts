import { letGo, lettingGo } from '#src/streams/let-go.js'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'

const MiB = 1024 * 1024
const PIECE = 64 * 1024

test('lettingGo() holds nothing of what it has passed on', async () => {
  let most = 0
  let piece: Uint8Array = Buffer.alloc(0)
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let count = 0; count < 6400; count++) yield await Promise.resolve(Buffer.allocUnsafeSlow(PIECE))
  }
  const before = process.memoryUsage().arrayBuffers
  for await (const next of lettingGo(pieces())) {
    assert.equal(piece.length, 0)
    assert.equal(next.length, PIECE)
    piece = next
    most = Math.max(most, process.memoryUsage().arrayBuffers - before)
  }
  assert.equal(piece.length, 0)
  // 400 MiB have passed
  assert.ok(most <= MiB, `${most} bytes`)
})

test('lettingGo() ends what it reads when its reader leaves', async () => {
  let ended = false
  async function* pieces(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield await Promise.resolve(Buffer.allocUnsafeSlow(PIECE))
    } finally {
      ended = true
    }
  }
  for await (const piece of lettingGo(pieces())) if (piece.length > 0) break
  assert.ok(ended)
})

test('letGo() takes what a socket gave', async () => {
  const server = createServer((_, response) => response.end(Buffer.alloc(4 * MiB, 7))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const request = get({ port: (server.address() as AddressInfo).port })
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    let [bytes, kept] = [0, 0]
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length
      letGo(chunk)
      // the last ones may be short, and parts of a pool
      kept += chunk.length
    }
    assert.equal(bytes, 4 * MiB)
    assert.ok(kept < PIECE, `${kept} bytes were kept`)
  } finally {
    server.close()
  }
})

test('letGo() leaves memory alone that others may look at', () => {
  const whole = Buffer.allocUnsafeSlow(PIECE).fill(1)
  letGo(whole.subarray(1))
  letGo(whole.subarray(0, -1))
  assert.equal(whole[PIECE - 1], 1)
  const shared = new Uint8Array(new SharedArrayBuffer(16))
  letGo(shared)
  assert.equal(shared.length, 16)
  letGo(new Uint8Array(0))
})
