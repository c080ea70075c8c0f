/**
 * The start and the stop of a base backup in the server, and the watch over the session in between.
 *
 * Always the non-exclusive kind (S1): an exclusive backup would put backup_label into the live data directory, and a
 * crash would then leave a primary that does not start. There is no "abort": ending the session makes the server drop
 * the backup (P1), which is why every failure path ends in `session.end()` and needs no more.
 */
import { reasonOf, ToolError } from '../../errors.js'
import { parseLsn } from '../lsn.js'
import { isInRecovery } from './cluster.js'
import { backupFunctions, withGrantHint } from './privileges.js'
import type { Session } from './connection.js'

/** Options of {@link startBackup}. */
export interface StartBackupOptions {
  /** One line of printable text; the caller has checked it (S2), since the server does not. */
  label: string
  /** `fast` writes the checkpoint at full speed; `spread` may take as long as checkpoint_timeout and more (S4). */
  checkpoint: 'fast' | 'spread'
}

/** A backup that the server has begun. */
export interface StartedBackup {
  /** The REDO pointer of the checkpoint that the start took: recovery begins here (S3). */
  startLsn: bigint
  /** The server's clock just before the start (S6). */
  startTime: Date
  /** The timeline, read after the start (S5). */
  timeline: number
  /** Whether the server was a standby; a promotion would spoil the backup (S8). */
  inRecovery: boolean
}

/** What the server returns at the end. */
export interface StoppedBackup {
  stopLsn: bigint
  /** The bytes of `backup_label`, exactly (E3). */
  labelFile: Buffer
  /** The bytes of `tablespace_map`, exactly; undefined when there are no tablespaces (E3). */
  tablespaceMap: Buffer | undefined
  /** The server's clock just after the stop (S6). */
  stopTime: Date
}

/**
 * Starts a base backup and waits for its checkpoint, without a time limit (P4, S4). An abort of the session's signal
 * cancels the wait. The server's refusals (full_page_writes off on a standby …) come word for word (S7).
 */
export async function startBackup(session: Session, options: StartBackupOptions): Promise<StartedBackup> {
  const inRecovery = await isInRecovery(session)
  const signature = backupFunctions(session).start
  // the third argument of the older function defaults to an exclusive backup, which writes into the live PGDATA (S1)
  const call = signature.startsWith('pg_backup_start') ? 'pg_backup_start($1, $2)' : 'pg_start_backup($1, $2, false)'
  const rows = await withGrantHint(session, signature, () =>
    session.query<{ time: string; lsn: string }>(
      // The select list is evaluated from left to right: the time is the one before the checkpoint.
      `select (extract(epoch from clock_timestamp()) * 1000)::text as time, ${call}::text as lsn`,
      [options.label, options.checkpoint === 'fast'],
    ),
  )
  const row = onlyRow(rows, 'start of the backup')
  const [control] = await session.query<{ timeline: string }>(
    'select timeline_id::text as timeline from pg_control_checkpoint()',
  )
  return {
    startLsn: parseLsn(row.lsn),
    startTime: new Date(Number(row.time)),
    timeline: Number(control?.timeline),
    inRecovery,
  }
}

/**
 * Ends the backup. To be called when the last byte of every file has been read (E2). The server does not wait for the
 * archive (E5): what counts is which segments our repository has, and we look for ourselves.
 */
export async function stopBackup(session: Session): Promise<StoppedBackup> {
  const signature = backupFunctions(session).stop
  const call = signature.startsWith('pg_backup_stop') ? 'pg_backup_stop(false)' : 'pg_stop_backup(false, false)'
  // The files hold bytes in the encoding of the database, or in none (a path of a tablespace). With SQL_ASCII as the
  // client's encoding textsend() returns them as they are: no conversion that changes them, and no check that could
  // fail now that the backup has been stopped and cannot be stopped again.
  await session.query(`select set_config('client_encoding', 'SQL_ASCII', false)`)
  const rows = await withGrantHint(session, signature, () =>
    session.query<{ lsn: string; label: string; map: string; time: string }>(
      `select lsn::text, encode(textsend(labelfile), 'hex') as label, encode(textsend(spcmapfile), 'hex') as map,
         (extract(epoch from clock_timestamp()) * 1000)::text as time
       from ${call}`,
    ),
  )
  await session.query(`select set_config('client_encoding', 'UTF8', false)`)
  const row = onlyRow(rows, 'stop of the backup')
  const tablespaceMap = Buffer.from(row.map, 'hex')
  return {
    stopLsn: parseLsn(row.lsn),
    labelFile: Buffer.from(row.label, 'hex'),
    tablespaceMap: tablespaceMap.length === 0 ? undefined : tablespaceMap,
    stopTime: new Date(Number(row.time)),
  }
}

function onlyRow<T>(rows: readonly T[], what: string): T {
  const [row, ...more] = rows
  if (row !== undefined && more.length === 0) return row
  throw new ToolError('database', `the ${what} returned ${rows.length} rows instead of one`)
}

/** Asks the server for a sign of life and its role. Rejects when there is none within `timeoutMs` (P2). */
export async function probe(session: Session, timeoutMs = 30_000): Promise<{ inRecovery: boolean }> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new Error(`no answer to a probe within ${timeoutMs} ms`)
      session.lose(error)
      reject(error)
    }, timeoutMs)
  })
  const answer = isInRecovery(session)
  try {
    return { inRecovery: await Promise.race([answer, expired]) }
  } finally {
    clearTimeout(timer)
    // After a timeout nobody waits for the answer any more.
    answer.catch(() => undefined)
  }
}

/** Options of {@link startProbing}. */
export interface ProbingOptions {
  /** Default 10 s (P2). */
  intervalMs?: number
  /** Time for one answer. Default 30 s. */
  timeoutMs?: number
  /** Whether the server was in recovery at the start; when that changes the backup is lost (S8). */
  inRecovery?: boolean
  /** Called once, at once, with the reason; the backup is then worthless and must be abandoned (P2). */
  onLost: (reason: ToolError) => void
}

/**
 * Watches the session of a backup: probes it from time to time and listens for its end. Returns the function that ends
 * the watch; call it before `stopBackup`.
 */
export function startProbing(session: Session, options: ProbingOptions): () => void {
  const { intervalMs = 10_000, timeoutMs, inRecovery, onLost } = options
  let watching = true
  const stop = (): void => {
    watching = false
    clearInterval(timer)
    session.lost.removeEventListener('abort', lost)
  }
  const fail = (reason: unknown): void => {
    if (!watching) return
    stop()
    onLost(reason instanceof ToolError ? reason : new ToolError('database', reasonOf(reason), { cause: reason }))
  }
  const lost = (): void => fail(session.lost.reason)
  const tick = async (): Promise<void> => {
    // A statement of ours that runs long (stop) is no silence of the server: its own failure will be noticed.
    if (session.busy) return
    try {
      const answer = await probe(session, timeoutMs)
      if (inRecovery === undefined || answer.inRecovery === inRecovery) return
      fail(new ToolError('database', inRecovery ? PROMOTED : DEMOTED, { hint: 'Take a new backup.' }))
    } catch (error) {
      // Closed by us or by an abort: that is no loss, and whoever did it knows.
      if (session.closed) stop()
      else fail(error)
    }
  }
  // The interval may keep the process alive: while a backup runs it must not end for want of anything else to do.
  const timer = setInterval(() => void tick(), intervalMs)
  session.lost.addEventListener('abort', lost, { once: true })
  if (session.lost.aborted) lost()
  return stop
}

const PROMOTED = 'the standby was promoted during the backup, which spoils it'
const DEMOTED = 'the server went into recovery during the backup'
