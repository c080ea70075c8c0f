import assert from 'node:assert/strict'
import { test } from 'node:test'
import { figuresOf, parsePgbenchLog, percentile } from '../../../scripts/bench/pgbench-log.js'

const SECOND = 1_700_000_000
/** A line as pgbench 15 writes it with --rate: the sixth number is the microseconds of its end, the last one how late it began. */
const line = (latency: number, second: number, microseconds: number): string =>
  `3 17 ${latency} 0 ${second} ${microseconds} 85\n`

test('a transaction of the log has its end in milliseconds since 1970, and its latency in milliseconds', () => {
  assert.deepEqual(parsePgbenchLog(line(1234, SECOND, 500_250)), [{ ended: SECOND * 1000 + 500.25, latencyMs: 1.234 }])
})

test('lines of a pgbench with and without the lag and the retries are read alike', () => {
  const text = ['0 1 900 0 1700000000 5', '0 2 901 0 1700000001 6 40', '0 3 902 0 1700000002 7 41 0'].join('\n')
  assert.deepEqual(
    parsePgbenchLog(`${text}\n`).map(({ latencyMs }) => latencyMs),
    [0.9, 0.901, 0.902],
  )
})

test('a last line that is not whole yet is left out, and an empty log has no transactions', () => {
  const text = line(100, SECOND, 1) + line(200, SECOND, 2).slice(0, -3)
  assert.equal(parsePgbenchLog(text).length, 1)
  assert.deepEqual(parsePgbenchLog(''), [])
})

for (const word of ['failed', 'skipped', 'serialization', '']) {
  test(`a line whose time is "${word}" is an error that shows it`, () => {
    const bad = `0 5 ${word} 0 1700000000 12 7`
    assert.throws(() => parsePgbenchLog(`${line(1, SECOND, 1)}${bad}\n`), { message: new RegExp(`"${bad}"$`) })
  })
}

test('latencies are of what was due in the stretch, transactions a second of what ended in it', () => {
  const from = SECOND * 1000
  const at = (due: number, latencyMs: number): { ended: number; latencyMs: number } => ({
    ended: from + due + latencyMs,
    latencyMs,
  })
  const figures = figuresOf(
    [
      at(-5, 10), // due before, ended within
      at(0, 4),
      at(100, 2),
      at(1999, 800), // held up at the end of the stretch
      at(2000, 1), // the end is no part of it
    ],
    { from, to: from + 2000 },
  )
  assert.deepEqual(figures, {
    seconds: 2,
    transactions: 3,
    tps: 1.5,
    medianMs: 4,
    p95Ms: 800,
    p99Ms: 800,
    maxMs: 800,
  })
})

test('a stretch without transactions is an error and not a row of NaN', () => {
  assert.throws(() => figuresOf([], { from: 0, to: 2500 }), /no transaction of pgbench in 2\.5 s/)
})

test('a percentile is the smallest value that so many of a hundred do not exceed', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1)
  assert.deepEqual(
    [0, 1, 50, 95, 99, 100].map((percent) => percentile(hundred, percent)),
    [1, 1, 50, 95, 99, 100],
  )
  assert.equal(percentile([7], 50), 7)
  assert.equal(percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 95), 10)
})
