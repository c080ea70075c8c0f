/** What a restore would use and how long it would take: decides as a restore does, and touches nothing. */
import { availableParallelism } from 'node:os'
import { measureReadRate } from '../archive/read-rate.js'
import { planResources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { formatLsn } from '../postgres/lsn.js'
import { formatTarget } from '../postgres/recovery-target.js'
import { findCluster } from '../repository/clusters.js'
import { basePrefix, archiveKey } from '../repository/layout.js'
import type { PathGap } from '../repository/timeline-tree.js'
import { readSegment } from '../repository/wal-contents.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { openToRead } from './open-repository.js'
import { planRecovery, type RecoveryPlan } from './recovery-plan.js'
import { recoveryRequest, type RecoveryOptions } from './recovery-request.js'
import { UnreachableTargetError } from './unreachable-target.js'

/** The answer where the target can be reached. */
export interface ReachablePlan {
  reachable: true
  cluster: string
  /** In words: `time 2026-11-22 18:45:01+00, inclusive`. */
  target: string
  /** Whether the target was seen to be there: an xid or a name is only with a scan. */
  proven: boolean
  backup: { id: string; label: string; stopTime: string; stopLsn: string; bytes: number; storedBytes: number }
  /** Where recovery ends, and the timelines on the way: each until the next one left it. */
  timeline: number
  timelines: { timeline: number; from: string; to?: string }[]
  wal: { segments: number; storedBytes: number; first?: string; last?: string }
  /** The first segment that is missing, behind the target. */
  gap?: PathGap
  /** The last transaction and record that the archive can give on this path. */
  end?: { lsn?: string; commitTime?: string }
  /** What a scan has found. */
  found?: { lsn: string; time: string }
  downloadBytes: number
  duration: { restoreSeconds: number; walSeconds?: number; storedBytesPerSecond: number; connections: number }
}

/** The answer. */
export type PlanAnswer = ReachablePlan | { reachable: false; cluster: string; reason: string; hint?: string }

/** Plans a recovery. Rejects as `restore` does, except that an unreachable target is an answer. */
export async function plan(settings: Settings, options: RecoveryOptions, context: CommandContext): Promise<PlanAnswer> {
  const request = { ...recoveryRequest(options), describeEnd: true }
  const resources = planResources(settings, availableParallelism())
  const { storage } = await openToRead(settings)
  try {
    const cluster = await findCluster(storage, settings.cluster, context.signal)
    try {
      const recovery = await planRecovery(storage, cluster, request, context)
      return await describe(storage, recovery, resources.jobs, context.signal)
    } catch (error) {
      if (!(error instanceof UnreachableTargetError)) throw error
      return { reachable: false, cluster: cluster.name, reason: error.message, ...(error.hint && { hint: error.hint }) }
    }
  } finally {
    storage.close()
  }
}

async function describe(
  storage: Storage,
  recovery: RecoveryPlan,
  connections: number,
  signal: AbortSignal,
): Promise<ReachablePlan> {
  const { cluster, backup, target, timeline, path, wal, found } = recovery
  const walBytes = wal.segments.reduce((sum, { size }) => sum + size, 0)
  const end = {
    ...(wal.last?.lastRecord && { lsn: formatLsn(wal.last.lastRecord.lsn) }),
    ...(wal.last?.event && { commitTime: wal.last.event.time.toISOString() }),
  }
  const [first] = wal.segments
  const last = wal.segments.at(-1)
  return {
    reachable: true,
    cluster: cluster.name,
    target: formatTarget(target),
    proven: (target.kind !== 'xid' && target.kind !== 'name') || found !== undefined,
    backup: {
      id: backup.id,
      label: backup.label,
      stopTime: backup.stop.time,
      stopLsn: backup.stop.lsn,
      bytes: backup.totals.bytes,
      storedBytes: backup.totals.storedBytes,
    },
    timeline,
    timelines: path.map(({ timeline: number, from, to }) => ({
      timeline: number,
      from: formatLsn(from),
      ...(to !== undefined && { to: formatLsn(to) }),
    })),
    wal: {
      segments: wal.segments.length,
      storedBytes: walBytes,
      ...(first && last && { first: first.name, last: last.name }),
    },
    ...(wal.gap && { gap: wal.gap }),
    ...(Object.keys(end).length > 0 && { end }),
    ...(found && { found: { lsn: formatLsn(found.lsn), time: found.time.toISOString() } }),
    downloadBytes: backup.totals.storedBytes + walBytes,
    duration: await estimate(storage, recovery, connections, signal),
  }
}

/** From rates that are measured now: on an archive of that very backup, and on a segment of that very WAL. */
async function estimate(
  storage: Storage,
  { cluster, backup, wal }: RecoveryPlan,
  connections: number,
  signal: AbortSignal,
): Promise<ReachablePlan['duration']> {
  const archive = await largestArchive(storage, backup.cluster, backup.id, signal)
  const rate = await measureReadRate(storage, archive.key, { size: archive.size, connections, signal })
  const restoreSeconds = backup.totals.storedBytes / rate.storedBytesPerSecond
  const segment = wal.segments.at(-1)
  if (!segment) return { restoreSeconds, ...rate }
  const began = performance.now()
  await readSegment(storage, cluster, segment.name, signal)
  const walSeconds = (wal.segments.length * (performance.now() - began)) / 1000
  return { restoreSeconds, walSeconds, ...rate }
}

async function largestArchive(
  storage: Storage,
  cluster: string,
  id: string,
  signal: AbortSignal,
): Promise<{ key: string; size: number }> {
  let largest = { key: archiveKey(cluster, id, 0), size: 0 }
  for await (const { key, size } of storage.list(basePrefix(cluster, id), { signal })) {
    if (key.endsWith('.tar.zst') && size > largest.size) largest = { key, size }
  }
  return largest
}
