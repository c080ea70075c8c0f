/** All that the WAL archive holds, in stretches that share one fate. Only stretches are kept: a year of WAL is a million names. */
import { segmentName } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { RetentionInventory } from './retention-inventory.js'
import type { RetentionPlan } from './retention.js'
import type { Retirement, When } from './retirement.js'
import { listWalFiles } from './wal-map.js'
import type { WalUse } from './wal-needs.js'

/** Files of neighbouring segments. */
export interface WalStretch {
  timeline: number
  firstNumber: bigint
  lastNumber: bigint
  /** Names of the first and last segment. */
  first: string
  last: string
  /** Segments, `.partial` and `.backup` files. */
  files: number
  storedBytes: number
  /** `held`: nothing needs it, but no WAL may be deleted now. */
  use: WalUse | 'held'
  /** Of what has expired. */
  when: When | undefined
}

/** Everything, timeline by timeline. History files are not among it: they stay for ever (A15). */
export async function surveyWal(
  storage: Storage,
  { cluster, tree }: Pick<RetentionInventory, 'cluster' | 'tree'>,
  { needs, walHolds }: RetentionPlan,
  retirement: Retirement,
  signal?: AbortSignal,
): Promise<WalStretch[]> {
  const stretches: WalStretch[] = []
  for (const timeline of tree.nodes.keys()) {
    let stretch: WalStretch | undefined
    for await (const { number, object } of listWalFiles(storage, cluster, timeline, { signal })) {
      const expired = needs.useOf(timeline, number)
      const use = expired === 'expired' && walHolds.length > 0 ? 'held' : expired
      const when = use === 'expired' ? retirement.ofWal(timeline, number) : undefined
      const isNext = stretch && number <= stretch.lastNumber + 1n && stretch.use === use && isSame(stretch.when, when)
      if (!stretch || !isNext) {
        const name = segmentName(timeline, number, cluster.walSegmentSize)
        const ends = { firstNumber: number, lastNumber: number, first: name, last: name }
        stretch = { timeline, ...ends, files: 0, storedBytes: 0, use, when }
        stretches.push(stretch)
      }
      if (number !== stretch.lastNumber) {
        stretch.lastNumber = number
        stretch.last = segmentName(timeline, number, cluster.walSegmentSize)
      }
      stretch.files++
      stretch.storedBytes += object.size
    }
  }
  return stretches
}

function isSame(a: When | undefined, b: When | undefined): boolean {
  return a?.when === b?.when && a?.isAnnounced === b?.isAnnounced
}
