/** A backup whose WAL did not come in time is kept, so that hours of copying need not be repeated (E6). */
import { reasonOf, ToolError, type ErrorCode } from '../errors.js'
import type { Report } from '../report.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { writeUnfinished } from '../repository/unfinished.js'
import { hashLocalSegments } from '../repository/wal-range.js'
import type { Storage } from '../storage/storage.js'

/** Clean-up has a deadline of its own: whoever interrupts waits for it, and an outage may be what failed the backup. */
const DEADLINE_MS = 30_000

/**
 * What leaves a backup that can be committed later. Not a conflict or damage, which say that its WAL, or its name, is
 * somebody else's.
 */
const PASSING: readonly ErrorCode[] = ['wal-missing', 'storage', 'interrupted']

/**
 * Keeps a backup all of which is stored but its record, where `failure` may pass. Resolves to what the backup is to fail
 * with, and whether it is kept.
 */
export async function keepUnfinished(
  storage: Storage,
  record: BackupRecord,
  failure: unknown,
  wal: { pgWalDirectory: string; segments: readonly string[] },
  report: Report,
): Promise<{ error: unknown; kept: boolean }> {
  if (!(failure instanceof ToolError) || !PASSING.includes(failure.code)) return { error: failure, kept: false }
  const { id, cluster } = record
  const signal = AbortSignal.timeout(DEADLINE_MS)
  try {
    const local = await hashLocalSegments(wal.pgWalDirectory, wal.segments, signal)
    const unfinished = { id, cluster, time: new Date().toISOString(), reason: failure.message, record, wal: local }
    await writeUnfinished(storage, unfinished, signal)
  } catch (error) {
    report({ type: 'warning', message: `could not keep backup ${id} to be finished later: ${reasonOf(error)}` })
    return { error: failure, kept: false }
  }
  report({ type: 'backup-unfinished', id })
  // the exit code of an interrupt is in its class
  if (failure.code === 'interrupted') return { error: failure, kept: true }
  const hint = [failure.hint, `All else is stored: "pgsluice backup --finalize ${id}" commits the backup then.`]
  const error = new ToolError(failure.code, failure.message, { cause: failure.cause, hint: hint.join(' ').trim() })
  return { error, kept: true }
}
