/**
 * LSNs: positions in the WAL of a cluster, 64-bit and unsigned, shown as two hexadecimal halves.
 *
 * They are compared as numbers and never as text: how many digits the halves have differs between versions of
 * PostgreSQL (P10), so equal LSNs may be spelled differently.
 */
import { ToolError } from '../errors.js'

/** A position in the WAL, in bytes from its beginning. */
export type Lsn = bigint

/** As pg_lsn_in() in pg_lsn.c: one to eight digits in each half, either case. */
const LSN_TEXT = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/

/**
 * Reads an LSN such as `16/B374D848`.
 *
 * @throws ToolError `usage`, naming the text, when it is no LSN
 */
export function parseLsn(text: string): Lsn {
  const match = LSN_TEXT.exec(text)
  if (match === null) {
    throw new ToolError('usage', `invalid LSN "${text}"`, {
      hint: 'An LSN is two hexadecimal numbers with a slash between them, such as 16/B374D848.',
    })
  }
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)
}

/** The text of an LSN as PostgreSQL up to 18 prints it (`%X/%X`): upper case, no leading zeros. */
export function formatLsn(lsn: Lsn): string {
  const high = lsn >> 32n
  const low = lsn & 0xffff_ffffn
  return `${high.toString(16)}/${low.toString(16)}`.toUpperCase()
}
