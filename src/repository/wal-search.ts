/**
 * Looks into archived WAL for what a recovery target needs: when the last transaction ended (I4), and whether a
 * transaction or a restore point is there at all (I3). PostgreSQL would say so only at the end of a long recovery.
 *
 * From the newest segment back, since targets are near the end as a rule. So what a segment begins with is known before
 * the segment in which that record begins.
 */
import type { Lsn } from '../postgres/lsn.js'
import { continuationOf, readWalRecords, type WalRecord } from '../postgres/wal-records.js'
import { transactionEventOf, type TransactionEnd, type TransactionEvent } from '../postgres/wal-transactions.js'
import type { Storage } from '../storage/storage.js'
import { settle } from '../streams/settle.js'
import type { ClusterIdentity } from './identity.js'
import { readSegment } from './wal-contents.js'

const MiB = 1024 * 1024
/** Segments in memory at a time, and the size from which it is only one. */
const PARALLEL_READS = 4
const LARGE_SEGMENT = 64 * MiB
/** What is kept of a record that goes on behind a segment: one that is longer is passed over. A commit of that length would
 * drop millions of tables. */
const LONGEST_CONTINUATION = 64 * MiB
/** Segments that are searched for the end of a transaction before none is said to be there. */
const MOST_SEGMENTS = 64

/** What {@link findLastTransaction} found. */
export interface LastTransaction {
  /** The newest in time of those in the last segment that has any; undefined when none was found. */
  event?: TransactionEnd
  /** The last record that is there in full: how far recovery can get. */
  lastRecord: { lsn: Lsn; endLsn: Lsn } | undefined
  segmentsRead: number
}

/**
 * Reads `segments` (names ascending, without gaps) from the last backwards, until one holds a commit or abort, at most
 * `most` (default 64). A record that goes on behind the last segment does not count: recovery cannot replay it.
 *
 * Rejects as {@link readSegment} does.
 */
export async function findLastTransaction(
  storage: Storage,
  cluster: ClusterIdentity,
  segments: readonly string[],
  { most = MOST_SEGMENTS, signal }: { most?: number; signal?: AbortSignal | undefined } = {},
): Promise<LastTransaction> {
  const found: LastTransaction = { lastRecord: undefined, segmentsRead: 0 }
  const newestFirst = segments.toReversed().slice(0, most)
  for await (const records of recordsOf(storage, cluster, newestFirst, { parallel: 1, signal })) {
    found.segmentsRead++
    let last: WalRecord | undefined
    for (const record of records.all()) {
      last = record
      const event = transactionEventOf(record, cluster.postgresMajor)
      if (event === undefined || event.kind === 'restore-point') continue
      // the time is taken before the record gets its place, so that times are not quite in the order of records
      if (found.event === undefined || event.microseconds >= found.event.microseconds) found.event = event
    }
    if (last !== undefined) found.lastRecord ??= { lsn: last.lsn, endLsn: last.endLsn }
    if (found.event !== undefined) break
  }
  return found
}

/**
 * Commits, aborts and restore points in `segments` (names ascending, without gaps) that `match`: from the newest segment
 * back, and in the order of WAL within a segment. The caller stops when it has enough. `onProgress` gets the number of
 * segments that were read through, and of all.
 *
 * At most four segments are in memory at a time, and one where they are of 64 MiB or more. Rejects as {@link readSegment}
 * does.
 */
export async function* scanTransactions(
  storage: Storage,
  cluster: ClusterIdentity,
  segments: readonly string[],
  match: (event: TransactionEvent) => boolean,
  options: { onProgress?: (done: number, total: number) => void; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<TransactionEvent & { segment: string }, void, undefined> {
  const newestFirst = segments.toReversed()
  const parallel = cluster.walSegmentSize >= LARGE_SEGMENT ? 1 : PARALLEL_READS
  let done = 0
  for await (const records of recordsOf(storage, cluster, newestFirst, { parallel, signal: options.signal })) {
    for (const record of records.all()) {
      const event = transactionEventOf(record, cluster.postgresMajor)
      if (event !== undefined && match(event)) yield { ...event, segment: records.segment }
    }
    options.onProgress?.(++done, segments.length)
  }
}

/** The records of segments, `parallel` of which are read at a time. They are gone when the next segment is asked for. */
async function* recordsOf(
  storage: Storage,
  cluster: ClusterIdentity,
  newestFirst: readonly string[],
  { parallel, signal }: { parallel: number; signal: AbortSignal | undefined },
): AsyncGenerator<{ segment: string; all: () => Iterable<WalRecord> }, void, undefined> {
  // filled again and again: when garbage is collected would decide otherwise how many segments are in memory
  const buffers: Buffer[] = []
  let next: Uint8Array = Buffer.alloc(0)
  for (let at = 0; at < newestFirst.length; at += parallel) {
    const reads = newestFirst.slice(at, at + parallel).map(async (segment, index) => {
      const buffer = (buffers[index] ??= Buffer.allocUnsafe(cluster.walSegmentSize))
      return { segment, bytes: await readSegment(storage, cluster, segment, signal, buffer) }
    })
    for (const { segment, bytes } of await settle(reads)) {
      const following = next
      yield { segment, all: () => readWalRecords(bytes, following) }
      next = continuationAcross(bytes, following)
    }
  }
}

/** What the segment before will need of this one and those behind it: a copy. */
function continuationAcross(segment: Uint8Array, following: Uint8Array): Uint8Array {
  const begun = continuationOf(segment)
  const length = begun.length + (begun.length === segment.length ? following.length : 0)
  return length > LONGEST_CONTINUATION ? Buffer.alloc(0) : Buffer.concat([begun, following], length)
}
