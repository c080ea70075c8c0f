/**
 * The backup_label file: what pg_backup_stop() returns and recovery begins with.
 *
 * It is stored and restored byte for byte (E3) and only read here. The label that a user chooses becomes one of its
 * lines, unescaped: a line break in it could forge the others, and the server then refuses to start (S2).
 */
import { ToolError } from '../errors.js'
import { parseLsn, type Lsn } from './lsn.js'

/** What a backup_label says. */
export interface BackupLabel {
  /** Where replay begins: the redo pointer of the checkpoint that began the backup (S3). */
  startLsn: Lsn
  /** Name of the WAL segment that holds it. */
  startSegment: string
  /** LSN of that checkpoint's record. */
  checkpointLsn: Lsn
  /** `streamed` for every backup of a kind this program takes. */
  backupMethod: string
  backupFrom: 'primary' | 'standby'
  /** As the server wrote it, in its log_timezone. */
  startTime: string
  /** The user's label. */
  label: string
  startTimeline: number
}

/** The words of BACKUP FROM; PostgreSQL 13 says `master`. */
const SOURCES: ReadonlyMap<string, BackupLabel['backupFrom']> = new Map([
  ['primary', 'primary'],
  ['master', 'primary'],
  ['standby', 'standby'],
])

/** MAXPGPATH: what the server's own commands accept. */
const LARGEST_LABEL = 1024

/**
 * Reads a backup_label. Every line must be there, once: recovery reads them in order (read_backup_label() in
 * xlogrecovery.c), so a second one could only have come in through the label.
 *
 * @throws ToolError `damaged`, naming the line
 */
export function parseBackupLabel(bytes: Uint8Array): BackupLabel {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()
  if (/^INCREMENTAL FROM /m.test(text)) throw damaged('it belongs to an incremental backup of pg_basebackup')
  const start = /^(\S+) \(file ([0-9A-F]{24})\)$/.exec(valueOf(text, 'START WAL LOCATION'))
  if (start === null) throw damaged('cannot read its line "START WAL LOCATION"')
  const source = valueOf(text, 'BACKUP FROM')
  const backupFrom = SOURCES.get(source)
  if (backupFrom === undefined) throw damaged(`cannot read "BACKUP FROM: ${source}"`)
  const startTimeline = valueOf(text, 'START TIMELINE')
  if (!/^[1-9][0-9]*$/.test(startTimeline)) throw damaged(`cannot read "START TIMELINE: ${startTimeline}"`)
  return {
    startLsn: lsnOf(start[1] ?? ''),
    startSegment: start[2] ?? '',
    checkpointLsn: lsnOf(valueOf(text, 'CHECKPOINT LOCATION')),
    backupMethod: valueOf(text, 'BACKUP METHOD'),
    backupFrom,
    startTime: valueOf(text, 'START TIME'),
    label: valueOf(text, 'LABEL'),
    startTimeline: Number(startTimeline),
  }
}

/**
 * Refuses a label that must not get into a backup_label (S2): it has to be one line of 1 to 1024 bytes, all printable.
 *
 * @throws ToolError `usage`
 */
export function checkLabel(label: string): void {
  const size = Buffer.byteLength(label)
  if (size === 0) throw new ToolError('usage', 'the label of a backup must not be empty')
  if (size > LARGEST_LABEL) {
    throw new ToolError('usage', `the label has ${size} bytes, the server takes at most ${LARGEST_LABEL}`)
  }
  // Cc, Cs, Zl, Zp: control characters, halves of surrogate pairs, and the line breaks that Unicode adds.
  if (/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}]/u.test(label)) {
    throw new ToolError(
      'usage',
      `the label ${JSON.stringify(label)} has a character that cannot be printed on one line`,
    )
  }
}

function valueOf(text: string, key: string): string {
  const prefix = `${key}: `
  const found = text.split('\n').filter((line) => line.startsWith(prefix))
  if (found.length !== 1) throw damaged(`it has ${found.length === 0 ? 'no' : 'more than one'} line "${key}"`)
  return (found[0] ?? '').slice(prefix.length)
}

function lsnOf(text: string): Lsn {
  try {
    return parseLsn(text)
  } catch (error) {
    throw damaged(`"${text}" is no LSN`, error)
  }
}

function damaged(reason: string, cause?: unknown): ToolError {
  return new ToolError('damaged', `could not read the backup label: ${reason}`, { cause })
}
