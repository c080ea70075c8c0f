/**
 * The one header block of an ordinary member, written here: a pack stream of tar-stream for each header takes many times
 * as long (docs/performance.md), which of a million small files is most of a backup. Byte for byte what tar-stream writes
 * (a test compares them), and only for members that need nothing but the plain fields; all others stay with it.
 */

/** The fields that decide whether a header is plain. */
export interface PlainMember {
  name: Buffer
  type: 'file' | 'directory'
  size: number
  mode: number
  uid: number
  gid: number
  /** Whole seconds since 1970, at most 2^31 - 1. */
  mtime: number
}

const BLOCK = 512
/** A longer name is split or gets a record of its own. */
const LONGEST_NAME = 99
const LARGEST_ID = 0o777777
const LARGEST_SIZE = 0o77777777777
/** Where the checksum lies, which counts as spaces while it is made. */
const SUM = { begin: 148, end: 156 } as const
/** Beyond these bytes all is zero. */
const USED = 345

const TEMPLATE = Buffer.alloc(BLOCK)
TEMPLATE.write('ustar\x0000', 257, 'latin1')
TEMPLATE.write('000000 ', 329, 'latin1')
TEMPLATE.write('000000 ', 337, 'latin1')

/** The header of a member; undefined where it needs more than the plain fields. */
export function plainTarHeader(member: PlainMember): Buffer | undefined {
  const { name, type, size, mode, uid, gid, mtime } = member
  if (name.length === 0 || name.length > LONGEST_NAME || !isAscii(name)) return undefined
  if (uid > LARGEST_ID || gid > LARGEST_ID || size > LARGEST_SIZE) return undefined
  const header = Buffer.from(TEMPLATE)
  name.copy(header)
  header.write(octal(mode & 0o7777, 6), 100, 'latin1')
  header.write(octal(uid, 6), 108, 'latin1')
  header.write(octal(gid, 6), 116, 'latin1')
  header.write(octal(size, 11), 124, 'latin1')
  header.write(octal(mtime, 11), 136, 'latin1')
  header[156] = type === 'file' ? 0x30 : 0x35
  let sum = (SUM.end - SUM.begin) * 0x20
  for (let at = 0; at < USED; at++) if (at < SUM.begin || at >= SUM.end) sum += header[at] ?? 0
  header.write(octal(sum, 6), SUM.begin, 'latin1')
  return header
}

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')} `
}

function isAscii(name: Buffer): boolean {
  for (const byte of name) if (byte === 0 || byte >= 0x80) return false
  return true
}
