/**
 * Holes that are about to be filled. A server's segments are stored several at a time, and what ends first need not be what
 * was begun first: for as long as a transfer takes, a segment can be there and the one before it not. Whoever looks at the
 * archive of a server that runs must not take that for a loss (I11).
 */
import { setTimeout } from 'node:timers/promises'
import { parseWalFileName, segmentNumberOf } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { listSegments } from './wal-map.js'
import type { PathGap } from './wal-path.js'

/** A hole is taken for one that is being filled for as long as what lies behind it is younger than this. */
const YOUNG_MS = 60_000
/** The longest wait, whatever the clocks say. */
const PATIENCE_MS = 15_000
const PAUSE_MS = 500

/** Looks once, and again while a hole that it saw may be about to be filled; resolves to what it saw last. */
export async function lookUntilFilled<T>(
  storage: Storage,
  cluster: ClusterIdentity,
  look: () => Promise<T>,
  { gapsOf, signal }: { gapsOf: (seen: T) => readonly (PathGap | undefined)[]; signal?: AbortSignal | undefined },
): Promise<T> {
  const end = performance.now() + PATIENCE_MS
  for (;;) {
    const seen = await look()
    if (performance.now() >= end || !(await isAnyYoung(storage, cluster, gapsOf(seen), signal))) return seen
    await setTimeout(PAUSE_MS, undefined, { signal })
  }
}

async function isAnyYoung(
  storage: Storage,
  cluster: ClusterIdentity,
  gaps: readonly (PathGap | undefined)[],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  for (const behind of new Set(gaps.flatMap((gap) => (gap?.isBehindStored ? [gap.behind] : [])))) {
    const file = parseWalFileName(behind)
    if (file?.kind !== 'segment') continue
    const number = segmentNumberOf(file, cluster.walSegmentSize)
    for await (const { lastModified } of listSegments(storage, cluster, file.timeline, {
      from: number,
      to: number,
      signal,
    }))
      if (Date.now() - lastModified.getTime() < YOUNG_MS) return true
  }
  return false
}
