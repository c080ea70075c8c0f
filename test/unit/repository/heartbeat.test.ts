import { ToolError } from '#src/errors.js'
import { HeartbeatWriter } from '#src/repository/heartbeat.js'
import type { Storage } from '#src/storage/storage.js'
import assert from 'node:assert/strict'
import { syncBuiltinESMExports } from 'node:module'
import { test, type TestContext } from 'node:test'

const BEAT = { id: '20260101T000000Z-00000001', host: 'here', startLsn: '0/2000028', startSegment: '0' }

function storageOf(put: (key: string, body: string) => Promise<void>): Storage {
  const storage = { put: (key: string, body: Uint8Array) => put(key, Buffer.from(body).toString()) }
  return storage as unknown as Storage
}

/** Time stands still but for `tick()`. Names that were imported before see it, too, and the real time again afterwards. */
function mockTimers(t: TestContext): void {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  syncBuiltinESMExports()
  t.after(() => {
    t.mock.timers.reset()
    syncBuiltinESMExports()
  })
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

test('HeartbeatWriter beats at once, every minute, and a last time with how it ended (S12)', async (t) => {
  mockTimers(t)
  const beats: { key: string; state: unknown }[] = []
  const storage = storageOf(async (key, body) => {
    await Promise.resolve()
    beats.push({ key, state: (JSON.parse(body) as { state: unknown }).state })
  })
  const writer = new HeartbeatWriter(storage, 'pg18-1', BEAT)
  await writer.start(() => assert.fail('nothing failed'))
  for (let minute = 0; minute < 3; minute++) {
    t.mock.timers.tick(60_000)
    await turns()
  }
  const ended = writer.end('committed')
  await turns()
  await ended
  assert.deepEqual(
    beats.map(({ state }) => state),
    ['running', 'running', 'running', 'running', 'committed'],
  )
  assert.ok(beats.every(({ key }) => key.startsWith(`pg18-1/running/${BEAT.id}/`)))
})

test('HeartbeatWriter tells once, at once, that a later beat could not be written (S12)', async (t) => {
  mockTimers(t)
  let isBroken = false
  const storage = storageOf(() => (isBroken ? Promise.reject(new Error('no bucket')) : Promise.resolve()))
  const failures: unknown[] = []
  const writer = new HeartbeatWriter(storage, 'pg18-1', BEAT)
  await writer.start((error) => failures.push(error))
  isBroken = true
  for (let minute = 0; minute < 3; minute++) {
    t.mock.timers.tick(60_000)
    await turns()
  }
  const [failure, ...more] = failures
  assert.deepEqual(more, [])
  assert.ok(failure instanceof ToolError && failure.code === 'storage')
  assert.match(failure.message, /could not write the heartbeat of this backup/)
  assert.match(String(failure.cause), /no bucket/)
})

test('HeartbeatWriter.start() rejects when the first beat cannot be written: nothing may begin unseen', async () => {
  const writer = new HeartbeatWriter(
    storageOf(() => Promise.reject(new Error('no bucket'))),
    'pg18-1',
    BEAT,
  )
  await assert.rejects(
    writer.start(() => undefined),
    /no bucket/,
  )
})
