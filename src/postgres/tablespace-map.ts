/**
 * The tablespace_map file: one line `<oid> <location>` for each link in pg_tblspc.
 *
 * A server that starts from a backup removes and recreates every link it names (T3), so a restore to other places must
 * rewrite it, by the escape rules of the server that will read it (T2). Locations are bytes: a path need not be UTF-8.
 */
import { ToolError } from '../errors.js'

/** One tablespace that is a link. */
export interface TablespaceMapEntry {
  oid: number
  /** The path, unescaped. */
  location: Buffer
}

/** PostgreSQL 13 escapes line breaks only; since 14 the backslash itself is escaped as well. */
const FIRST_MAJOR_ESCAPING_BACKSLASHES = 14

const NEWLINE = 0x0a
const RETURN = 0x0d
const SPACE = 0x20
const BACKSLASH = 0x5c

/**
 * Reads a tablespace_map written by a server of that major version, as read_tablespace_map() in xlogrecovery.c does.
 *
 * @throws ToolError `damaged`, naming the line
 */
export function parseTablespaceMap(bytes: Uint8Array, major: number): TablespaceMapEntry[] {
  return logicalLines(bytes, major >= FIRST_MAJOR_ESCAPING_BACKSLASHES).map((line) => {
    const space = line.indexOf(SPACE)
    const oid = line.subarray(0, Math.max(space, 0)).toString('latin1')
    let location = line.subarray(space + 1)
    // Its sscanf("%s %n") takes all blanks between the two.
    if (major < FIRST_MAJOR_ESCAPING_BACKSLASHES) location = location.subarray(leadingBlanks(location))
    if (!/^[1-9][0-9]{0,9}$/.test(oid) || Number(oid) > 0xffff_ffff || location.length === 0) {
      throw damaged(`cannot read the line "${line.toString()}"`)
    }
    return { oid: Number(oid), location }
  })
}

/**
 * The bytes of a tablespace_map for a server of that major version, as do_pg_backup_start() in xlog.c makes them. No
 * entries give no bytes: then there must be no file (E3).
 *
 * @throws ToolError `refused` for a location that the format of PostgreSQL 13 cannot hold
 */
export function formatTablespaceMap(entries: readonly TablespaceMapEntry[], major: number): Buffer {
  const escaping = major >= FIRST_MAJOR_ESCAPING_BACKSLASHES
  return Buffer.concat(
    entries.flatMap(({ oid, location }) => {
      const map = [Buffer.from(`${oid} `), escaped(location, escaping), Buffer.of(NEWLINE)]
      if (!escaping && !survives(Buffer.concat(map), location)) {
        throw new ToolError('refused', `PostgreSQL ${major} cannot read back the location "${location.toString()}"`, {
          hint: 'Choose a directory without a blank at its beginning and without a backslash at its end.',
        })
      }
      return map
    }),
  )
}

/** Lines with their escapes resolved. In the old format a backslash means something only before a line break. */
function logicalLines(bytes: Uint8Array, escaping: boolean): Buffer[] {
  const lines: Buffer[] = []
  let line: number[] = []
  let afterBackslash = false
  for (const byte of bytes) {
    const isBreak = byte === NEWLINE || byte === RETURN
    if (isBreak && !afterBackslash) {
      if (line.length > 0) lines.push(Buffer.from(line)) // else the second half of a CRLF
      line = []
    } else if (escaping) {
      if (byte === BACKSLASH && !afterBackslash) {
        afterBackslash = true
        continue
      }
      line.push(byte)
    } else {
      if (isBreak) line.pop()
      line.push(byte)
      afterBackslash = byte === BACKSLASH
      continue
    }
    afterBackslash = false
  }
  if (line.length > 0 || afterBackslash) throw damaged('its last line has no end')
  return lines
}

function escaped(location: Buffer, escaping: boolean): Buffer {
  const bytes: number[] = []
  for (const byte of location) {
    if (byte === NEWLINE || byte === RETURN || (escaping && byte === BACKSLASH)) bytes.push(BACKSLASH)
    bytes.push(byte)
  }
  return Buffer.from(bytes)
}

function survives(map: Buffer, location: Buffer): boolean {
  try {
    const [entry, ...others] = parseTablespaceMap(map, FIRST_MAJOR_ESCAPING_BACKSLASHES - 1)
    return others.length === 0 && entry?.location.equals(location) === true
  } catch {
    return false
  }
}

function leadingBlanks(bytes: Buffer): number {
  const first = bytes.findIndex((byte) => byte !== SPACE && (byte < 0x09 || byte > RETURN))
  return first === -1 ? bytes.length : first
}

function damaged(reason: string): ToolError {
  return new ToolError('damaged', `could not read the tablespace map: ${reason}`)
}
