import { awaitWalRange } from '#src/repository/wal-range.js'
import { storeWal, WAL_CLUSTER, withDirectory } from './wal-scene.js'
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

const SEGMENTS = [1, 2, 3, 4].map((number) => `00000001000000000000000${number}`)
const SIZE = 4096
const options = { timeline: 1, walSegmentSize: SIZE, timeoutMs: 1000 }

test('awaitWalRange() refuses segments of another server, and goes by complete ones only (E5)', async () => {
  await withDirectory(async ({ storage, directory }) => {
    const pgWalDirectory = path.join(directory, 'pg_wal')
    mkdirSync(path.join(pgWalDirectory, 'archive_status'), { recursive: true })
    for (const name of SEGMENTS) await storeWal(storage, directory, name, Buffer.alloc(SIZE, name))
    const local = (name: string, content: Buffer, status?: string): void => {
      writeFileSync(path.join(pgWalDirectory, name), content)
      if (status) writeFileSync(path.join(pgWalDirectory, 'archive_status', `${name}.${status}`), '')
    }
    const range = { ...options, segments: SEGMENTS, pgWalDirectory }
    local(SEGMENTS[1]!, Buffer.alloc(SIZE, SEGMENTS[1]), 'done')
    local(SEGMENTS[3]!, Buffer.alloc(SIZE, 'other'))
    await awaitWalRange(storage, WAL_CLUSTER.name, range)
    local(SEGMENTS[3]!, Buffer.alloc(SIZE, 'other'), 'ready')
    await assert.rejects(awaitWalRange(storage, WAL_CLUSTER.name, range), {
      code: 'conflict',
      message: /the archive holds another server's "000000010000000000000004"/,
    })
    await awaitWalRange(storage, WAL_CLUSTER.name, { ...options, segments: SEGMENTS })
  })
})

test('awaitWalRange() waits as long as segments arrive, and its timeout after the last (E5)', async () => {
  await withDirectory(async ({ storage, directory }) => {
    // long beside what a busy disk takes to store a segment
    const waiting = awaitWalRange(storage, WAL_CLUSTER.name, { ...options, timeoutMs: 4000, segments: SEGMENTS })
    waiting.catch(() => undefined)
    const started = performance.now()
    for (const name of SEGMENTS.slice(0, 3)) {
      await sleep(1800)
      await storeWal(storage, directory, name, Buffer.alloc(SIZE, name))
    }
    await assert.rejects(waiting, { code: 'wal-missing', message: /"000000010000000000000004" did not reach/ })
    assert.ok(performance.now() - started > 9000)
  })
})
