/** Where the server is in its WAL, and what waits for its archiver. What it says of its archiver is in cluster.ts. */
import { ToolError } from '../../errors.js'
import { parseLsn, type Lsn } from '../lsn.js'
import type { Session } from './connection.js'

/** Where a server is in its WAL. */
export interface WalPosition {
  /** Of the next byte that it writes; in recovery, of the end of what it has replayed. */
  lsn: Lsn
  timeline: number
  inRecovery: boolean
}

/**
 * Reads {@link WalPosition}; everybody may.
 *
 * One statement, so that a promotion cannot come between its parts. On a primary the control file still names the timeline
 * of the last checkpoint, which right after a promotion is the one before: the name of a segment has the right one.
 */
export async function readWalPosition(session: Session): Promise<WalPosition> {
  const [row] = await session.query<{ in_recovery: string; lsn: string; timeline: string }>(`
    select in_recovery::text,
      case when in_recovery then coalesce(pg_last_wal_replay_lsn(), redo_lsn) else pg_current_wal_insert_lsn() end::text as lsn,
      case when in_recovery then greatest(timeline_id, min_recovery_end_timeline)::text
        else 'x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end as timeline
    from pg_is_in_recovery() as in_recovery, pg_control_checkpoint(), pg_control_recovery()`)
  if (row === undefined) throw new ToolError('database', 'the server returned nothing about its WAL')
  return { lsn: parseLsn(row.lsn), timeline: Number(`0${row.timeline}`), inRecovery: row.in_recovery === 'true' }
}

/** Files that wait for the archiver; undefined for a role without pg_monitor, which may not look. */
export async function countReadyFiles(session: Session): Promise<number | undefined> {
  const signature = 'pg_catalog.pg_ls_archive_statusdir()'
  const [may] = await session.query<{ answer: boolean }>(`select has_function_privilege($1, 'EXECUTE') as answer`, [
    signature,
  ])
  if (may?.answer !== true) return undefined
  const [row] = await session.query<{ count: string }>(
    `select count(*)::text as count from pg_ls_archive_statusdir() where name like '%.ready'`,
  )
  return Number(row?.count)
}
