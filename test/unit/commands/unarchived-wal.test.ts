import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { measureLag } from '#src/commands/archive-lag.js'
import { oldestWrite, type WalStretch } from '#src/commands/unarchived-wal.js'
import { segmentName } from '#src/postgres/wal-segment.js'
import { WalWriter } from '../../support/wal-writer.js'

const SEGMENT = 1024 * 1024
const POSTGRES_EPOCH_MS = 946_684_800_000

const at = (minute: number): Date => new Date(Date.UTC(2026, 10, 22, 18, minute))
/** Main data of a commit. */
function commit(minute: number): { info: number; data: Buffer } {
  const data = Buffer.alloc(8)
  data.writeBigInt64LE(BigInt(at(minute).getTime() - POSTGRES_EPOCH_MS) * 1000n)
  return { info: 0, data }
}

describe('oldestWrite()', () => {
  let pgWal: string
  let wal: WalWriter
  beforeEach(() => {
    pgWal = mkdtempSync(path.join(tmpdir(), 'pgsluice-wal-'))
    wal = new WalWriter({ pages: SEGMENT / 8192 })
  })
  afterEach(() => rmSync(pgWal, { recursive: true }))

  const pathOf = (number: number): string =>
    path.join(pgWal, segmentName(1, wal.start / BigInt(SEGMENT) + BigInt(number), SEGMENT))
  const borderAt = (number: number): bigint => wal.start + BigInt(number * SEGMENT)
  /** Writes the files of segments; each was last written to in that minute. */
  const store = (minutes: readonly number[]): void => {
    for (const [number, minute] of minutes.entries()) {
      writeFileSync(pathOf(number), wal.segment(number))
      utimesSync(pathOf(number), at(minute), at(minute))
    }
  }
  const stretch = (from: bigint, to = wal.last.endLsn): WalStretch => {
    const facts = { timeline: 1, walSegmentSize: SEGMENT, systemIdentifier: 7000000000000000001n, major: 18 }
    return { pgWal, from, to, ...facts }
  }

  it('finds the first transaction that ended behind the archive, and none before or behind the stretch', async () => {
    wal.append(commit(1))
    wal.fillSegment(0)
    const idle = wal.append({ resourceManager: 8, data: Buffer.alloc(8) })
    const first = wal.append(commit(2))
    wal.append(commit(3))
    store([2, 4])
    assert.deepEqual(await oldestWrite(stretch(borderAt(1))), { time: at(2) })
    assert.deepEqual(await oldestWrite(stretch(first.endLsn)), { time: at(3) })
    assert.deepEqual(await oldestWrite(stretch(borderAt(1), idle.endLsn)), { time: undefined })
    assert.deepEqual(await oldestWrite(stretch(wal.last.endLsn, wal.last.endLsn + 8n)), { time: undefined })
  })

  it('counts a commit that begins in the archive and ends behind it', async () => {
    wal.fillSegment(16)
    wal.append(commit(1))
    wal.append({ resourceManager: 8, data: Buffer.alloc(8) })
    store([1, 5])
    assert.deepEqual(await oldestWrite(stretch(borderAt(1))), { time: at(1) })
  })

  it('counts a full segment in which no transaction has ended, or a later one', async () => {
    wal.fillSegment(0)
    wal.fillSegment(0)
    wal.append({ resourceManager: 8, data: Buffer.alloc(8) })
    store([1, 2, 9])
    assert.deepEqual(await oldestWrite(stretch(borderAt(1))), { time: at(2) })
    wal.append(commit(7))
    store([1, 2, 9])
    assert.deepEqual(await oldestWrite(stretch(borderAt(1))), { time: at(2) })
    assert.deepEqual(await oldestWrite(stretch(borderAt(2))), { time: at(7) })
  })

  it('takes a recycled file for one that has nothing yet', async () => {
    wal.fillSegment(0)
    wal.append(commit(1))
    store([1])
    const former = new WalWriter({ start: wal.start - BigInt(8 * SEGMENT), pages: SEGMENT / 8192 })
    former.append(commit(0))
    writeFileSync(pathOf(1), former.segment(0))
    assert.deepEqual(await oldestWrite(stretch(borderAt(1))), { time: undefined })
  })

  it('does not know where a file is gone', async () => {
    wal.fillSegment(0)
    wal.append(commit(1))
    assert.equal(await oldestWrite(stretch(borderAt(1))), undefined)
    store([1])
    assert.equal(await oldestWrite(stretch(borderAt(1))), undefined)
  })

  it('makes a lag of 0 of what is not behind, a bound where pg_wal cannot be read, and nothing where nothing is known', async () => {
    wal.fillSegment(0)
    wal.append({ resourceManager: 8, data: Buffer.alloc(9000) })
    wal.append(commit(1))
    store([1, 2])
    const { walSegmentSize, systemIdentifier, major } = stretch(0n)
    const position = { lsn: wal.last.endLsn, timeline: 1, inRecovery: false }
    const input = {
      ...{ position, now: at(11), archivedLsn: borderAt(1), writtenAfter: at(0), pgWal },
      server: { walSegmentSize, systemIdentifier, major },
    }
    const bytes = Number(position.lsn - borderAt(1))
    const common = { segments: 0, next: path.basename(pathOf(1)), bytes }
    assert.deepEqual(await measureLag(input), { ...common, seconds: 600, isAtMost: false })
    const unseen = { ...input, pgWal: undefined }
    assert.deepEqual(await measureLag(unseen), { ...common, seconds: 660, isAtMost: true })
    assert.deepEqual(await measureLag({ ...unseen, writtenAfter: undefined }), {
      ...common,
      ...{ seconds: undefined, isAtMost: true },
    })
    const ahead = await measureLag({ ...unseen, archivedLsn: borderAt(3) })
    assert.deepEqual([ahead.bytes, ahead.segments, ahead.seconds, ahead.isAtMost], [0, 0, 0, false])
    const quiet = await measureLag({ ...unseen, position: { ...position, lsn: borderAt(1) + 300n } })
    assert.deepEqual([quiet.bytes, quiet.seconds], [300, 0])
    const older = await measureLag({ ...unseen, archivedLsn: borderAt(0) })
    assert.deepEqual([older.segments, older.next], [1, path.basename(pathOf(0))])
  })
})
