/**
 * When the oldest WAL that is not in the archive was written: read in the server's own pg_wal, where it is at hand. From
 * outside only a bound is known, and on a quiet server that may be hours off.
 */
import { readFile, stat } from 'node:fs/promises'
import type { Lsn } from '../postgres/lsn.js'
import { segmentProblem } from '../postgres/wal-page-header.js'
import { continuationOf, readWalRecords } from '../postgres/wal-records.js'
import { lastSegmentNumberBefore, segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import { transactionEventOf } from '../postgres/wal-transactions.js'

/** Segments that are looked through, and their largest size: a look must stay cheap. */
const MOST_SEGMENTS = 16n
const LARGEST_SEGMENT = 64 * 1024 * 1024

/** A stretch of a server's WAL. */
export interface WalStretch {
  pgWal: string
  from: Lsn
  to: Lsn
  timeline: number
  walSegmentSize: number
  systemIdentifier: bigint
  major: number
}

/**
 * When the first transaction in the stretch ended, or its first segment was full, whichever was earlier. `time` is
 * undefined where neither has happened: then the archive lacks nothing that anybody was promised. The result is undefined
 * where pg_wal does not tell: it cannot be read, or the files are gone.
 */
export async function oldestWrite(stretch: WalStretch): Promise<{ time: Date | undefined } | undefined> {
  const { from, to, walSegmentSize } = stretch
  if (walSegmentSize > LARGEST_SEGMENT) return undefined
  const first = segmentNumberAt(from, walSegmentSize)
  const last = lastSegmentNumberBefore(to, walSegmentSize)
  const filled = first < segmentNumberAt(to, walSegmentSize) ? await whenWritten(stretch, first) : undefined
  // a record that began in the archive's last segment and ended in the next is not in the archive
  let segment = first === 0n ? undefined : await readLocal(stretch, first - 1n)
  for (let number = first; number <= last && number < first + MOST_SEGMENTS; number++) {
    const next = await readLocal(stretch, number)
    if (next === undefined) return undefined
    const ended = segment && firstEnd(segment, next, stretch)
    if (ended) return { time: earlier(filled, ended) }
    segment = next
  }
  const ended = segment && firstEnd(segment, undefined, stretch)
  if (!ended && !filled && last - first >= MOST_SEGMENTS) return undefined
  return { time: earlier(filled, ended) }
}

function earlier(a: Date | undefined, b: Date | undefined): Date | undefined {
  return a && b && b < a ? b : (a ?? b)
}

function firstEnd(
  segment: Uint8Array,
  next: Uint8Array | undefined,
  { from, to, major }: WalStretch,
): Date | undefined {
  for (const record of readWalRecords(segment, next && continuationOf(next))) {
    if (record.endLsn <= from) continue
    if (record.lsn >= to) return undefined
    const event = transactionEventOf(record, major)
    if (event && event.kind !== 'restore-point') return event.time
  }
  return undefined
}

/**
 * A segment's bytes; undefined where it cannot be read, for whatever reason: another host, another user's files, removed
 * meanwhile. Empty where the file still has the content of its former life: nothing of the new one has reached the disk.
 */
async function readLocal(stretch: WalStretch, number: bigint): Promise<Buffer | undefined> {
  const { walSegmentSize, systemIdentifier } = stretch
  const name = segmentName(stretch.timeline, number, walSegmentSize)
  const bytes = await readFile(`${stretch.pgWal}/${name}`).catch(() => undefined)
  if (bytes === undefined) return undefined
  const facts = { name, size: bytes.length, walSegmentSize, systemIdentifier }
  return segmentProblem(bytes, facts) === undefined ? bytes : bytes.subarray(0, 0)
}

async function whenWritten({ pgWal, timeline, walSegmentSize }: WalStretch, number: bigint): Promise<Date | undefined> {
  const path = `${pgWal}/${segmentName(timeline, number, walSegmentSize)}`
  return stat(path).then(
    ({ mtime }) => mtime,
    () => undefined,
  )
}
