/** How far the archive is behind the server: by what is in the bucket, not by what the server believes is there. */
import type { Lsn } from '../postgres/lsn.js'
import type { WalPosition } from '../postgres/session/archiver.js'
import { segmentName, segmentNumberAt } from '../postgres/wal-segment.js'
import { oldestWrite } from './unarchived-wal.js'

/** Length of the header of a segment: a segment of which nothing more is written has nothing in it. */
const SEGMENT_HEADER = 40
/**
 * A page: what a server writes though nobody does anything, that is checkpoints, lists of running transactions, and now
 * and then a page in which a reader has set hint bits. Where pg_wal cannot be read, so much and no more is taken for that:
 * an idle server must not seem to fall behind further and further.
 */
const WRITTEN_WHEN_IDLE = 8192

/** How far the archive is behind. */
export interface ArchiveLag {
  /** Whole segments that are not in the archive. */
  segments: number
  /** Name of the first segment that is not in the archive, or not to its end. */
  next: string
  bytes: number
  /**
   * Since when the archive lacks something; 0 where no transaction has ended since. Undefined where nothing is known: the
   * archive has neither a backup nor a transaction.
   */
  seconds: number | undefined
  /** Whether `seconds` is a bound: pg_wal could not be read. */
  isAtMost: boolean
}

/** What the archive is compared with. */
export interface LagInput {
  position: WalPosition
  /** The server's clock, read together with the position. */
  now: Date
  archivedLsn: Lsn
  /** Everything behind `archivedLsn` was written after that. */
  writtenAfter: Date | undefined
  /** The server's pg_wal, where it is on this host. */
  pgWal: string | undefined
  server: { walSegmentSize: number; systemIdentifier: bigint; major: number }
}

/** Compares. Rejects with ToolError `damaged` where pg_wal holds what is no WAL of that version. */
export async function measureLag(input: LagInput): Promise<ArchiveLag> {
  const { position, archivedLsn, server } = input
  const numberAt = (lsn: Lsn): bigint => segmentNumberAt(lsn, server.walSegmentSize)
  // a standby may be behind what its primary has archived
  const isBehind = position.lsn > archivedLsn
  const bytes = isBehind ? Number(position.lsn - archivedLsn) : 0
  const segments = isBehind ? Number(numberAt(position.lsn) - numberAt(archivedLsn)) : 0
  const next = segmentName(position.timeline, numberAt(archivedLsn), server.walSegmentSize)
  return { segments, next, bytes, ...(await measureTime(input, bytes)) }
}

async function measureTime(
  { position, now, archivedLsn, writtenAfter, pgWal, server }: LagInput,
  bytes: number,
): Promise<Pick<ArchiveLag, 'seconds' | 'isAtMost'>> {
  if (bytes <= SEGMENT_HEADER) return { seconds: 0, isAtMost: false }
  const ageOf = (time: Date): number => Math.max(0, (now.getTime() - time.getTime()) / 1000)
  const { lsn: to, timeline } = position
  const oldest =
    pgWal === undefined ? undefined : await oldestWrite({ pgWal, from: archivedLsn, to, timeline, ...server })
  if (oldest) return { seconds: oldest.time ? ageOf(oldest.time) : 0, isAtMost: false }
  if (bytes <= WRITTEN_WHEN_IDLE) return { seconds: 0, isAtMost: false }
  return { seconds: writtenAfter && ageOf(writtenAfter), isAtMost: true }
}
