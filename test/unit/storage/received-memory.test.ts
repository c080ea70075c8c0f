import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'

const MiB = 1024 * 1024

/**
 * Receives 400 MiB in pieces of 64 KiB, as from a socket; sends the most that was held at any time. Without the notes it
 * holds what V8 lets objects of the young generation keep, 32 MiB and more.
 */
const RECEIVER = `
  const { parentPort, workerData } = require('node:worker_threads')
  import(workerData.module).then(({ noteReceived }) => {
    const before = process.memoryUsage().arrayBuffers
    let most = 0
    let last
    for (let piece = 0; piece < 6400; piece++) {
      last = Buffer.allocUnsafeSlow(65536)
      if (workerData.notes) noteReceived(last.length)
      if (piece % 32 === 0) most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    }
    parentPort.postMessage(most)
  })`

async function mostHeld(notes: boolean): Promise<number> {
  const module = import.meta.resolve('#src/storage/received-memory.js')
  const worker = new Worker(RECEIVER, { eval: true, workerData: { module, notes } })
  const [most] = (await once(worker, 'message')) as [number]
  await worker.terminate()
  return most
}

test('noteReceived() bounds what a thread holds of what it received and is done with', async () => {
  const [most, without] = [await mostHeld(true), await mostHeld(false)]
  assert.ok(most <= 16 * MiB, `${Math.round(most / MiB)} MiB`)
  assert.ok(without > 16 * MiB, `${Math.round(without / MiB)} MiB without it: this test would show nothing`)
})

test('noteReceived() leaves the program as it was: nobody else finds a collector', async () => {
  const { noteReceived } = await import('#src/storage/received-memory.js')
  noteReceived(64 * MiB)
  assert.equal((globalThis as { gc?: unknown }).gc, undefined)
  const { runInNewContext } = await import('node:vm')
  assert.equal(runInNewContext('typeof gc'), 'undefined')
})
