/** The log of pgbench's transactions (`--log`), and what it says of a stretch of time. */
import type { LoadFigures } from './results.js'

/** One transaction. */
export interface Transaction {
  /** Milliseconds since 1970. */
  ended: number
  /** From the instant that the schedule of `--rate` had for it: what waited for a free client counts. */
  latencyMs: number
}

/** A stretch of time, in milliseconds since 1970; `to` is no part of it. */
export interface Stretch {
  from: number
  to: number
}

/** client, transaction, microseconds, script, then seconds and microseconds of its end; what follows varies by version. */
const LINE = /^\d+ \d+ (\d+) \d+ (\d+) (\d+)(?: \d+)*$/
/**
 * Reads the log. Throws where a line is none of a transaction that succeeded: a load with failed or skipped ones is not the
 * load that was asked for. A last line without its end is one that pgbench has not written yet, and is left out.
 */
export function parsePgbenchLog(text: string): Transaction[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const found = LINE.exec(line)
      if (found === null) throw new Error(`pgbench's log has a line that is no transaction: "${line}"`)
      const [time = 0, seconds = 0, microseconds = 0] = found.slice(1).map(Number)
      return { ended: seconds * 1000 + microseconds / 1000, latencyMs: time / 1000 }
    })
}

/** When the schedule had it begin. */
export function dueOf({ ended, latencyMs }: Transaction): number {
  return ended - latencyMs
}

/**
 * Latencies are of what was due within the stretch, so that what it held up counts also where it ended later; transactions
 * a second of what ended within. Throws where nothing was due, or nothing ended.
 */
export function figuresOf(transactions: readonly Transaction[], { from, to }: Stretch): LoadFigures {
  const isWithin = (time: number): boolean => time >= from && time < to
  const ended = transactions.filter((one) => isWithin(one.ended)).length
  const latencies = transactions
    .filter((one) => isWithin(dueOf(one)))
    .map(({ latencyMs }) => latencyMs)
    .sort((a, b) => a - b)
  const seconds = (to - from) / 1000
  if (ended === 0 || latencies.length === 0) throw new Error(`no transaction of pgbench in ${seconds.toFixed(1)} s`)
  return {
    seconds,
    transactions: latencies.length,
    tps: ended / seconds,
    medianMs: percentile(latencies, 50),
    p95Ms: percentile(latencies, 95),
    p99Ms: percentile(latencies, 99),
    maxMs: percentile(latencies, 100),
  }
}

/** The smallest value that so many of a hundred do not exceed; `sorted` has at least one. */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(Math.ceil((percent * sorted.length) / 100), 1) - 1] ?? NaN
}
