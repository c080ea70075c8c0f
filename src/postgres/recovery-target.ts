/**
 * Recovery targets: where a recovery ends, as the command line names it and as PostgreSQL understands it (I5, I6).
 */
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn, type Lsn } from './lsn.js'

/** Where recovery ends. */
export type RecoveryTarget =
  | { kind: 'end-of-archive' }
  | { kind: 'immediate' }
  /** `microseconds` since 2000-01-01 00:00 UTC, as a TimestampTz. */
  | { kind: 'time'; microseconds: bigint; inclusive: boolean }
  | { kind: 'lsn'; lsn: Lsn; inclusive: boolean }
  /** `xid`: the lower 32 bits, as commit records have it. */
  | { kind: 'xid'; xid: number; inclusive: boolean }
  | { kind: 'name'; name: string }

/** A target as the command line and the API name it. */
export interface TargetOptions {
  targetTime?: string | undefined
  targetLsn?: string | undefined
  targetXid?: string | undefined
  targetName?: string | undefined
  target?: string | undefined
  targetExclusive?: boolean | undefined
}

/** The timeline that recovery follows. */
export type TargetTimeline = number | 'latest' | 'current'

/** The years 1 to 9999, in milliseconds since 1970. */
const FIRST_INSTANT = Date.parse('0001-01-01T00:00:00Z')
const LAST_INSTANT = Date.parse('9999-12-31T23:59:59Z')
const POSTGRES_EPOCH = BigInt(Date.UTC(2000, 0, 1)) * 1000n

const OPTIONS = {
  targetTime: '--target-time',
  targetLsn: '--target-lsn',
  targetXid: '--target-xid',
  targetName: '--target-name',
  target: '--target',
} as const

/** Most bytes of the name of a restore point (MAXFNAMELEN, without its end). */
const LONGEST_NAME = 63
/** XIDs below it are no transactions that can be recovered to (FirstNormalTransactionId). */
const FIRST_XID = 3n

/** @throws ToolError `usage`, which names the option and what would be right */
export function parseRecoveryTarget(options: TargetOptions): RecoveryTarget {
  const given = (Object.keys(OPTIONS) as (keyof typeof OPTIONS)[]).filter((name) => options[name] !== undefined)
  const [name, ...more] = given
  if (more.length > 0)
    throw new ToolError(
      'usage',
      `only one of ${given.map((option) => OPTIONS[option]).join(' and ')} can be the target`,
    )
  const text = name === undefined ? '' : (options[name] ?? '')
  const inclusive = !(options.targetExclusive ?? false)
  if (!inclusive && (name === undefined || name === 'target' || name === 'targetName'))
    throw new ToolError('usage', '--target-exclusive needs --target-time, --target-lsn or --target-xid')
  if (name === undefined) return { kind: 'end-of-archive' }
  switch (name) {
    case 'targetTime':
      return { kind: 'time', microseconds: parseTime(OPTIONS.targetTime, text), inclusive }
    case 'targetLsn':
      return { kind: 'lsn', lsn: parseTargetLsn(text), inclusive }
    case 'targetXid':
      return { kind: 'xid', xid: parseXid(text), inclusive }
    case 'targetName':
      return { kind: 'name', name: parseName(text) }
    case 'target':
      if (text !== 'immediate') throw wrong('--target', text, 'expected immediate')
      return { kind: 'immediate' }
  }
}

function wrong(option: string, text: string, expected: string): ToolError {
  return new ToolError('usage', `wrong value ${JSON.stringify(text)} for ${option}: ${expected}`)
}

const TIME = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?( ?)(Z|[+-]\d\d(?::?\d\d)?)?$/

/** A date, a time and an offset: without one it would mean another instant on every host (I5). */
function parseTime(option: string, text: string): bigint {
  const refuse = (expected: string): ToolError => wrong(option, text, expected)
  const example = 'expected a date, a time and its offset, such as 2026-11-22 18:45:01.5+01'
  const match = TIME.exec(text)
  if (!match) throw refuse(example)
  const [, date = '', clock = '', second = '00', fraction = '', , zone] = match
  if (zone === undefined) throw refuse(`it has no offset: ${text}+00 would be UTC`)
  const [hours = '', minutes = '00'] = zone === 'Z' ? ['+00'] : (/^([+-]\d\d):?(\d\d)?$/.exec(zone)?.slice(1) ?? [])
  const local = `${date}T${clock}:${second}`
  const at = Date.parse(`${local}Z`)
  // Date.parse() takes the 31st of a month of 30 days for the 1st of the next
  if (Number.isNaN(at) || new Date(at).toISOString().slice(0, 19) !== local) throw refuse('there is no such instant')
  if (Number(minutes) > 59 || Math.abs(Number(hours)) > 15) throw refuse('there is no such offset')
  const offset = (Math.abs(Number(hours)) * 60 + Number(minutes)) * (hours.startsWith('-') ? -1 : 1)
  const instant = at - offset * 60_000
  // in UTC it may lie outside the years of four digits, which are all that can be written without BC or a longer year
  if (instant < FIRST_INSTANT || instant > LAST_INSTANT) throw refuse('there is no such instant')
  return BigInt(instant) * 1000n + BigInt(fraction.padEnd(6, '0')) - POSTGRES_EPOCH
}

/**
 * An instant as {@link RecoveryTarget} has it, for any option of the command line: a date, a time and an offset.
 *
 * @throws ToolError `usage`, which names the option and what would be right
 */
export function parseInstant(option: string, text: string): Date {
  const microseconds = parseTime(option, text) + POSTGRES_EPOCH
  // to the millisecond before it, for years before 1970, too
  return new Date(Number((microseconds - (((microseconds % 1000n) + 1000n) % 1000n)) / 1000n))
}

function parseTargetLsn(text: string): Lsn {
  try {
    return parseLsn(text)
  } catch (cause) {
    throw new ToolError(
      'usage',
      `wrong value ${JSON.stringify(text)} for --target-lsn: expected an LSN such as 16/B374D848`,
      {
        cause,
      },
    )
  }
}

/** Commit records hold the lower half of what pg_current_xact_id() returns; leading zeros would be octal to PostgreSQL 13. */
function parseXid(text: string): number {
  const xid = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n
  const low = xid & 0xffff_ffffn
  if (xid < FIRST_XID || xid >= 1n << 64n || low < FIRST_XID)
    throw wrong('--target-xid', text, 'expected the number of a transaction')
  return Number(low)
}

function parseName(text: string): string {
  const bytes = Buffer.byteLength(text)
  if (bytes === 0 || bytes > LONGEST_NAME || /[\n\r\0]/.test(text))
    throw wrong('--target-name', text, `expected the name of a restore point, of 1 to ${LONGEST_NAME} bytes`)
  return text
}

/**
 * A timeline: decimal, hexadecimal with 0x, or the eight hexadecimal digits of a file name, which begin with a zero.
 *
 * @throws ToolError `usage`
 */
export function parseTargetTimeline(text: string): TargetTimeline {
  if (text === 'latest' || text === 'current') return text
  return timelineOf(text) ?? refuseTimeline('--target-timeline', text, ', latest or current')
}

/**
 * The number of a timeline, in the forms of {@link parseTargetTimeline}, for any option of the command line.
 *
 * @throws ToolError `usage`
 */
export function parseTimeline(option: string, text: string): number {
  return timelineOf(text) ?? refuseTimeline(option, text)
}

function timelineOf(text: string): number | undefined {
  const isHex = /^0[0-9A-Fa-f]{7}$/.test(text)
  const timeline = isHex || /^0x[0-9A-Fa-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : decimal(text)
  return timeline >= 1 && timeline <= 0xffff_ffff ? timeline : undefined
}

function refuseTimeline(option: string, text: string, orElse = ''): never {
  throw wrong(option, text, `expected a number (10, 0xA or 0000000A)${orElse}`)
}

function decimal(text: string): number {
  return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : NaN
}

/** The target in words. */
export function formatTarget(target: RecoveryTarget): string {
  switch (target.kind) {
    case 'end-of-archive':
      return 'end of the archive'
    case 'immediate':
      return 'immediate'
    case 'name':
      return `restore point "${target.name}"`
    case 'time':
      return `time ${formatTimestamp(target.microseconds)}${exclusive(target)}`
    case 'lsn':
      return `LSN ${formatLsn(target.lsn)}${exclusive(target)}`
    case 'xid':
      return `transaction ${target.xid}${exclusive(target)}`
  }
}

function exclusive({ inclusive }: { inclusive: boolean }): string {
  return inclusive ? '' : ' (exclusive)'
}

/** `2026-11-22 18:45:01.123456+00`, which PostgreSQL reads whatever its TimeZone (I5). */
export function formatTimestamp(microseconds: bigint): string {
  const whole = microseconds + POSTGRES_EPOCH
  // towards the past, before 1970 too
  const fraction = ((whole % 1_000_000n) + 1_000_000n) % 1_000_000n
  const text = new Date(Number((whole - fraction) / 1000n)).toISOString().slice(0, 19).replace('T', ' ')
  return `${text}.${String(fraction).padStart(6, '0')}+00`
}

/** A date as a TimestampTz. */
export function timestampOf(date: Date): bigint {
  return BigInt(date.getTime()) * 1000n - POSTGRES_EPOCH
}
