/**
 * Proves that WAL of this server reaches this repository, before anything is copied (S11): a backup that fails at its
 * end, for want of WAL, has cost its whole duration.
 */
import { ToolError } from '../errors.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import { archiverStatus, switchWal } from '../postgres/session/cluster.js'
import type { Session } from '../postgres/session/connection.js'
import { awaitWalRange } from '../repository/wal-range.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'

/** The server tries again every second or so: one failure is said once, and once more when it lasts. */
const REPORT_AGAIN_MS = 60_000

/** Switches to a new segment and waits for the old one in the archive. Returns its name, or undefined without the right to switch. */
export async function proveArchiving(
  session: Session,
  storage: Storage,
  cluster: string,
  options: { archiveTimeoutMs: number; walSegmentSize: number; pgWalDirectory?: string | undefined },
  context: CommandContext,
): Promise<string | undefined> {
  let segment: string
  try {
    segment = await switchWal(session)
  } catch (error) {
    if (!(error instanceof ToolError) || error.hint?.includes('GRANT') !== true) throw error
    context.report({
      type: 'warning',
      message: `could not prove that WAL is archived: ${error.message}`,
      hint: error.hint,
    })
    return undefined
  }
  const file = parseWalFileName(segment)
  if (file?.kind !== 'segment') throw new Error(`"${segment}" is no WAL segment`)
  let archivedBefore = false
  let failures: number | undefined
  let reported: { segment: string; at: number } | undefined
  await awaitWalRange(storage, cluster, {
    timeline: file.timeline,
    segments: [segment],
    walSegmentSize: options.walSegmentSize,
    pgWalDirectory: options.pgWalDirectory,
    timeoutMs: options.archiveTimeoutMs,
    signal: context.signal,
    probe: async () => {
      // one look at the repository lies between two probes: what was archived by the first must be there by now
      if (archivedBefore) throw archivedElsewhere(segment, storage.url)
      const { lastArchivedSegment, lastFailedSegment, failedCount } = await archiverStatus(session)
      archivedBefore = lastArchivedSegment === segment
      const isNew = reported?.segment !== lastFailedSegment || performance.now() - (reported?.at ?? 0) > REPORT_AGAIN_MS
      if (failures !== undefined && failedCount > failures && lastFailedSegment !== undefined && isNew) {
        reported = { segment: lastFailedSegment, at: performance.now() }
        context.report({
          type: 'warning',
          message: `archive_command failed for "${lastFailedSegment}"; the server tries again`,
        })
      }
      failures = failedCount
    },
    onWaiting: (missing, seconds) => {
      context.report({ type: 'wal-awaited', segment, missing: missing.length, seconds })
    },
  })
  return segment
}

function archivedElsewhere(segment: string, url: string): ToolError {
  return new ToolError('wal-missing', `the server says that it archived "${segment}", but it is not in "${url}"`, {
    hint: 'archive_command writes to another repository, or to none: it must be pgsluice-wal push "%p" with this one.',
  })
}
