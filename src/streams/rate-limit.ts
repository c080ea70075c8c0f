/**
 * How fast bytes may move, over all threads together: token buckets in memory that the threads share.
 *
 * A bucket is the instant from which the next bytes may go. Whoever wants to move bytes pushes that instant on by the
 * time that they take at the rate (one compare-and-swap), and waits until its own share begins; so no thread asks another
 * one, none is starved, and a wake-up that comes late delays its own bytes only. Waiting is a timer of the event loop:
 * sockets move meanwhile.
 */
import { setTimeout as delay } from 'node:timers/promises'

/** The rate and its buckets, to be handed to threads. */
export type SharedRate = SharedArrayBuffer

/** What is counted, each for itself at the rate: reads of the data directory, and what goes to or comes from the store. */
export type Bucket = 'reads' | 'transfers'

const RATE = 0
const SLOTS: Readonly<Record<Bucket, number>> = { reads: 1, transfers: 2 }
const NS_PER_SECOND = 1_000_000_000n
/** What was not used in this time may be caught up with: more than a busy event loop is late, and nothing over a minute. */
const CREDIT_NS = 200_000_000n
/** Bytes move in pieces that take a fiftieth of a second, if they are not smaller than this. */
const LEAST_PIECE_BYTES = 64 * 1024
const PIECES_PER_SECOND = 50

/** Time, for tests to replace. */
export interface Clock {
  /** The same for all threads, in nanoseconds. */
  now: () => bigint
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}

const MONOTONIC: Clock = {
  now: () => process.hrtime.bigint(),
  sleep: (ms, signal) => delay(ms, undefined, { signal }),
}

/** A rate for threads to share; undefined is no limit. */
export function shareRate(bytesPerSecond: number | undefined): SharedRate {
  const shared = new SharedArrayBuffer(3 * BigInt64Array.BYTES_PER_ELEMENT)
  changeRate(shared, bytesPerSecond)
  return shared
}

/** Changes the rate of all threads from their next piece on. */
export function changeRate(shared: SharedRate, bytesPerSecond: number | undefined): void {
  Atomics.store(new BigInt64Array(shared), RATE, BigInt(Math.round(bytesPerSecond ?? 0)))
}

/** One bucket as a thread sees it. */
export class RateLimit {
  readonly #slots: BigInt64Array
  readonly #slot: number
  readonly #clock: Clock

  constructor(shared: SharedRate, bucket: Bucket, clock: Clock = MONOTONIC) {
    this.#slots = new BigInt64Array(shared)
    this.#slot = SLOTS[bucket]
    this.#clock = clock
  }

  /** Whether there is a limit now. */
  get active(): boolean {
    return Atomics.load(this.#slots, RATE) > 0n
  }

  /** Bytes to move at a time, at most `most`: a multiple of 64 KiB, small enough to be smooth at the rate of now. */
  pieceBytes(most: number): number {
    const rate = Number(Atomics.load(this.#slots, RATE))
    if (rate === 0) return most
    const wanted = Math.floor(rate / PIECES_PER_SECOND / LEAST_PIECE_BYTES) * LEAST_PIECE_BYTES
    return Math.min(most, Math.max(LEAST_PIECE_BYTES, wanted))
  }

  /** Reserves the next share of the rate; returns the milliseconds to wait before these bytes may move. */
  reserve(bytes: number): number {
    const rate = Atomics.load(this.#slots, RATE)
    if (rate <= 0n) return 0
    const needed = (BigInt(bytes) * NS_PER_SECOND) / rate
    for (;;) {
      const next = Atomics.load(this.#slots, this.#slot)
      const now = this.#clock.now()
      const earliest = now - CREDIT_NS
      const begin = next > earliest ? next : earliest
      if (Atomics.compareExchange(this.#slots, this.#slot, next, begin + needed) === next) {
        return begin > now ? Number(begin - now) / 1e6 : 0
      }
    }
  }

  /** Waits until these bytes may move. Rejects with the signal's reason. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const ms = this.reserve(bytes)
    if (ms === 0) return
    await this.#clock.sleep(Math.ceil(ms), signal).catch((error: unknown) => {
      signal?.throwIfAborted()
      throw error
    })
  }
}
