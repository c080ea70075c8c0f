import { changeRate, RateLimit, shareRate, type Bucket, type Clock, type SharedRate } from '#src/streams/rate-limit.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const KIB = 1024
const MIB = 1024 * KIB

/** A clock that moves only to the next moment for which somebody sleeps; wake-ups come `lateMs` late. */
class FakeClock implements Clock {
  ms = 0
  sleeps = 0
  readonly #lateMs: number
  readonly #waiting: { at: number; wake: () => void }[] = []

  constructor(lateMs = 0) {
    this.#lateMs = lateMs
  }

  readonly now = (): bigint => BigInt(Math.round(this.ms * 1e6))

  readonly sleep = (ms: number): Promise<void> =>
    new Promise((wake) => {
      this.sleeps += 1
      this.#waiting.push({ at: this.ms + ms + this.#lateMs, wake })
    })

  /** Runs what is awake, then moves to the next wake-up, until `endMs`. */
  async runUntil(endMs: number): Promise<void> {
    for (;;) {
      for (let turn = 0; turn < 8; turn++) await Promise.resolve()
      this.#waiting.sort((a, b) => a.at - b.at)
      const next = this.#waiting[0]
      if (!next || next.at > endMs) break
      this.#waiting.shift()
      this.ms = Math.max(this.ms, next.at)
      next.wake()
    }
    this.ms = endMs
  }
}

/** Movers that each move pieces one after the other, as a thread does; returns what all have moved, second by second. */
function start(
  shared: SharedRate,
  clock: FakeClock,
  movers: { bucket: Bucket; piece: number }[],
): { total: (fromSecond: number, toSecond: number) => number } {
  const seconds = new Float64Array(61)
  for (const { bucket, piece } of movers) {
    const limit = new RateLimit(shared, bucket, clock)
    const run = async (): Promise<void> => {
      for (;;) {
        const bytes = limit.pieceBytes(piece)
        await limit.take(bytes)
        seconds[Math.floor(clock.ms / 1000)]! += bytes
      }
    }
    void run()
  }
  return { total: (from, to) => seconds.subarray(from, to).reduce((sum, bytes) => sum + bytes, 0) }
}

for (const [what, rate, movers, late] of [
  ['one thread', 50e6, 1, 0],
  ['eight threads', 50e6, 8, 0],
  ['four threads whose timers are 40 ms late', 100 * MIB, 4, 40],
  ['two threads at the lowest rate', 64_000, 2, 5],
  ['two threads', 200e6, 2, 1],
] as const) {
  test(`RateLimit lets ${what} move ${rate} bytes a second: within 1 % over a minute, and within 35 % in every second`, async () => {
    const clock = new FakeClock(late)
    const { total } = start(
      shareRate(rate),
      clock,
      Array.from({ length: movers }, () => ({ bucket: 'reads' as const, piece: MIB })),
    )
    await clock.runUntil(60_000)
    const minute = total(0, 60)
    const slack = rate * 0.01 + movers * 64 * KIB
    assert.ok(Math.abs(minute - rate * 60) <= rate * 60 * 0.01 + movers * 64 * KIB, `${minute} bytes`)
    for (let second = 1; second < 59; second++) {
      const bytes = total(second, second + 1)
      assert.ok(Math.abs(bytes - rate) <= rate * 0.35 + slack, `second ${second}: ${bytes} bytes`)
    }
  })
}

test('RateLimit counts reads and transfers each for itself', async () => {
  const clock = new FakeClock()
  const shared = shareRate(10e6)
  const reads = start(shared, clock, [{ bucket: 'reads', piece: MIB }])
  const transfers = start(shared, clock, [{ bucket: 'transfers', piece: MIB }])
  await clock.runUntil(10_000)
  for (const { total } of [reads, transfers]) assert.ok(Math.abs(total(0, 10) - 100e6) < 3e6)
})

test('changeRate() counts for every thread from its next piece on, and an idle time is no credit', async () => {
  const clock = new FakeClock()
  const shared = shareRate(1e6)
  const { total } = start(shared, clock, [
    { bucket: 'reads', piece: MIB },
    { bucket: 'reads', piece: MIB },
  ])
  await clock.runUntil(10_000)
  changeRate(shared, 20e6)
  await clock.runUntil(20_000)
  changeRate(shared, 2e6)
  await clock.runUntil(30_000)
  assert.ok(Math.abs(total(0, 10) - 10e6) < 0.5e6, String(total(0, 10)))
  assert.ok(Math.abs(total(10, 20) - 200e6) < 6e6, String(total(10, 20)))
  assert.ok(Math.abs(total(20, 30) - 20e6) < 3e6, String(total(20, 30)))
})

test('RateLimit without a rate lets everything pass and starts no timer', async () => {
  const clock = new FakeClock()
  const limit = new RateLimit(shareRate(undefined), 'transfers', clock)
  for (let i = 0; i < 1000; i++) await limit.take(100 * MIB)
  assert.deepEqual([clock.sleeps, limit.active, limit.pieceBytes(MIB)], [0, false, MIB])
})

test('RateLimit.take() rejects with the reason of the signal, however long it would wait', async () => {
  const limit = new RateLimit(shareRate(64_000), 'reads')
  await limit.take(100 * MIB) // the first piece always passes; what follows waits for half an hour
  const reason = new Error('enough')
  const controller = new AbortController()
  const taken = limit.take(1, controller.signal)
  controller.abort(reason)
  await assert.rejects(taken, (error) => error === reason)
})
