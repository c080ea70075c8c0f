/**
 * Which WAL is needed: start to stop of every backup that is kept, and everything that recovery can read behind those that
 * it goes on from, along every timeline that descends from them (D3). Names of different timelines are never compared (D4):
 * only numbers of segments, and across timelines only where the histories say how they hang together.
 */
import type { Lsn } from '../postgres/lsn.js'
import { isAncestor, switchLsnOf, type TimelineHistory } from '../postgres/timeline.js'
import { segmentNumberAt } from '../postgres/wal-segment.js'

/** A place from which recovery goes on. */
export interface RecoveryStart {
  timeline: number
  /** Start of the backup. */
  lsn: Lsn
  /** Its stop: timelines that left before it cannot be got to (I1). Of a backup in progress, its start. */
  reach: Lsn
}

/** WAL that one backup cannot be restored without: segments from `first` to `last` of a timeline. */
export interface OwnWal {
  timeline: number
  first: bigint
  last: bigint
}

/** What a segment is to the backups that stay. `unknown`: to none of them anything, but nothing says that it is older. */
export type WalUse = 'recovery' | 'backup' | 'unknown' | 'expired'

/** Tells what each WAL file is needed for. */
export class WalNeeds {
  readonly #starts: readonly { timeline: number; number: bigint }[]
  readonly #histories: ReadonlyMap<number, TimelineHistory>
  readonly #walSegmentSize: number
  /** The first segment of each timeline that recovery may read; it may read all behind it. */
  readonly #recovery = new Map<number, bigint>()
  /** By timeline, ascending, not touching. */
  readonly #own = new Map<number, { first: bigint; last: bigint }[]>()
  /** Segments before it are older than everything that recovery goes on from. */
  readonly #floor: bigint | undefined

  constructor(
    starts: readonly RecoveryStart[],
    own: readonly OwnWal[],
    histories: ReadonlyMap<number, TimelineHistory>,
    walSegmentSize: number,
  ) {
    this.#histories = histories
    this.#walSegmentSize = walSegmentSize
    this.#starts = starts.map(({ timeline, lsn }) => ({ timeline, number: segmentNumberAt(lsn, walSegmentSize) }))
    for (const { number } of this.#starts) if (this.#floor === undefined || number < this.#floor) this.#floor = number
    for (const start of starts) this.#addRecovery(start)
    for (const range of own.toSorted((a, b) => (a.first < b.first ? -1 : 1))) this.#addOwn(range)
  }

  /** What segment `number` of `timeline` is needed for. */
  useOf(timeline: number, number: bigint): WalUse {
    const from = this.#recovery.get(timeline)
    if (from !== undefined && number >= from) return 'recovery'
    if (this.#own.get(timeline)?.some(({ first, last }) => number >= first && number <= last)) return 'backup'
    return this.#isOlder(timeline, number) ? 'expired' : 'unknown'
  }

  /** The segment that holds a switch is the new timeline's: it begins with a copy of what is before it. */
  #addRecovery({ timeline, lsn, reach }: RecoveryStart): void {
    this.#recoverFrom(timeline, lsn)
    for (const history of this.#histories.values()) {
      if (history.timeline === timeline || !isAncestor(history, timeline, reach)) continue
      const behind = history.entries.slice(history.entries.findIndex((entry) => entry.timeline === timeline))
      for (const [index, { switchLsn }] of behind.entries())
        this.#recoverFrom(behind[index + 1]?.timeline ?? history.timeline, switchLsn)
    }
  }

  #recoverFrom(timeline: number, lsn: Lsn): void {
    const number = segmentNumberAt(lsn, this.#walSegmentSize)
    const known = this.#recovery.get(timeline)
    if (known === undefined || number < known) this.#recovery.set(timeline, number)
  }

  #addOwn({ timeline, first, last }: OwnWal): void {
    const ranges = this.#own.get(timeline) ?? []
    const before = ranges.at(-1)
    if (before && first <= before.last + 1n) {
      if (last > before.last) before.last = last
    } else ranges.push({ first, last })
    this.#own.set(timeline, ranges)
  }

  /**
   * Whether WAL that is not needed comes before something that is: on the same timeline; on an ancestor, before it was left;
   * or on any relative, before every segment that recovery begins with. All else may be of a server that is still alive.
   */
  #isOlder(timeline: number, number: bigint): boolean {
    const floor = this.#floor
    if (floor === undefined) return false
    return this.#starts.some((start) => {
      if (start.timeline === timeline) return number < start.number
      const history = this.#histories.get(start.timeline)
      const left = history && switchLsnOf(history, timeline)
      if (left !== undefined && number < segmentNumberAt(left, this.#walSegmentSize)) return true
      return number < floor && this.#areRelated(timeline, start.timeline)
    })
  }

  #areRelated(a: number, b: number): boolean {
    const ancestors = new Set(this.#familyOf(a))
    return this.#familyOf(b).some((timeline) => ancestors.has(timeline))
  }

  #familyOf(timeline: number): number[] {
    return [timeline, ...(this.#histories.get(timeline)?.entries ?? []).map((entry) => entry.timeline)]
  }
}
