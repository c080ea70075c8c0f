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

/** What a tar is made of, in bytes. */
export const BLOCK = 512
/** A longer name is split or gets a record of its own. */
const LONGEST_NAME = 99
/** Largest id that tar-stream writes (six octal digits): it clamps what is above it. */
export const LARGEST_ID = 0o777777
const LARGEST_SIZE = 0o77777777777
/** Where the checksum lies, which counts as spaces while it is made. */
const SUM = { begin: 148, end: 156 } as const
/** Beyond these bytes all is zero. */
const USED = 345

const TEMPLATE = Buffer.alloc(BLOCK)
TEMPLATE.write('ustar\x0000', 257, 'latin1')
TEMPLATE.write('000000 ', 329, 'latin1')
TEMPLATE.write('000000 ', 337, 'latin1')

/**
 * The header of a member; undefined where it needs more than the plain fields. `room`: a block to make it in, for who has
 * copied one before asking for the next.
 */
export function plainTarHeader(member: PlainMember, room: Buffer = Buffer.allocUnsafe(BLOCK)): Buffer | undefined {
  const { name, type, size, mode, uid, gid, mtime } = member
  if (name.length === 0 || name.length > LONGEST_NAME || !isAscii(name)) return undefined
  if (uid > LARGEST_ID || gid > LARGEST_ID || size > LARGEST_SIZE) return undefined
  const header = room
  header.set(TEMPLATE)
  header.set(name)
  putOctal(header, mode & 0o7777, 100, 6)
  putOctal(header, uid, 108, 6)
  putOctal(header, gid, 116, 6)
  putOctal(header, size, 124, 11)
  putOctal(header, mtime, 136, 11)
  header[156] = type === 'file' ? 0x30 : 0x35
  let sum = (SUM.end - SUM.begin) * 0x20
  for (let at = 0; at < USED; at++) sum += header[at] ?? 0 // the place of the sum itself is zeros still
  putOctal(header, sum, SUM.begin, 6)
  return header
}

/** Digit by digit, as a string for each field takes several times as long; by division, since a size has 33 bits. */
function putOctal(header: Buffer, value: number, at: number, digits: number): void {
  let rest = value
  for (let place = at + digits - 1; place >= at; place--) {
    const next = Math.floor(rest / 8)
    header[place] = 0x30 + rest - next * 8
    rest = next
  }
  header[at + digits] = 0x20
}

function isAscii(name: Buffer): boolean {
  for (const byte of name) if (byte === 0 || byte >= 0x80) return false
  return true
}
