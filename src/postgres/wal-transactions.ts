/**
 * What WAL records mean for a recovery target: ends of transactions, and restore points (I3, I4).
 *
 * The same records and fields that recoveryStopsBefore() and recoveryStopsAfter() of xlogrecovery.c look at, taken apart
 * as xactdesc.c does.
 */
import { ToolError } from '../errors.js'
import { formatLsn, type Lsn } from './lsn.js'
import type { WalRecord } from './wal-records.js'

/** Where recovery can be told to stop. */
export type TransactionEvent = TransactionEnd | RestorePoint

/** A transaction committed or aborted. */
export interface TransactionEnd extends EventPlace {
  kind: 'commit' | 'abort'
  /** Of the transaction that ended; for a prepared one, not of the one that ended it. */
  xid: number
  /** Whether COMMIT PREPARED or ROLLBACK PREPARED ended it. */
  prepared: boolean
}

/** pg_create_restore_point(). Several may have one name, and recovery stops at the first. */
export interface RestorePoint extends EventPlace {
  kind: 'restore-point'
  name: string
}

interface EventPlace {
  /** To the millisecond, rounded down. */
  time: Date
  /** Microseconds since 2000-01-01 UTC, as stored: what the server compares with a target. */
  microseconds: bigint
  /** Where the record begins. */
  lsn: Lsn
  /** Where it ends. */
  endLsn: Lsn
}

const RM_XLOG = 0
const RM_XACT = 1

/** Of RM_XLOG. The name is a C string in what follows the time. */
const XLOG_RESTORE_POINT = 0x70

/** Of RM_XACT. */
const XLOG_XACT_OPMASK = 0x70
const ENDS: ReadonlyMap<number, Pick<TransactionEnd, 'kind' | 'prepared'>> = new Map([
  [0x00, { kind: 'commit', prepared: false }],
  [0x20, { kind: 'abort', prepared: false }],
  [0x30, { kind: 'commit', prepared: true }],
  [0x40, { kind: 'abort', prepared: true }],
])
const XLOG_XACT_HAS_INFO = 0x80

/** Bits of xinfo that say which parts stand before the xid of a prepared transaction; in the order of the parts. */
const HAS_DBINFO = 1 << 0
const HAS_SUBXACTS = 1 << 1
const HAS_RELFILELOCATORS = 1 << 2
const HAS_DROPPED_STATS = 1 << 8
const HAS_INVALS = 1 << 3
const HAS_TWOPHASE = 1 << 4

const TIME_SIZE = 8
/** 2000-01-01 as JavaScript counts. */
const POSTGRES_EPOCH_MS = 946_684_800_000

/**
 * What a record means for a recovery target, or undefined: nothing.
 *
 * @throws ToolError `damaged` when a record of such a kind does not hold what it must
 */
export function transactionEventOf(record: WalRecord, majorVersion: number): TransactionEvent | undefined {
  if (record.resourceManager === RM_XLOG && (record.info & 0xf0) === XLOG_RESTORE_POINT) {
    const place = placeOf(record)
    const name = record.data.subarray(TIME_SIZE)
    const end = name.indexOf(0)
    return { kind: 'restore-point', name: Buffer.from(end < 0 ? name : name.subarray(0, end)).toString(), ...place }
  }
  if (record.resourceManager !== RM_XACT) return undefined
  const end = ENDS.get(record.info & XLOG_XACT_OPMASK)
  if (end === undefined) return undefined
  const place = placeOf(record)
  return { ...end, xid: end.prepared ? preparedXid(record, majorVersion) : record.xid, ...place }
}

function placeOf(record: WalRecord): EventPlace {
  const { lsn, endLsn } = record
  const microseconds = fieldOf(record, 0, TIME_SIZE).getBigInt64(0, true)
  return { time: new Date(Number(microseconds / 1000n) + POSTGRES_EPOCH_MS), microseconds, lsn, endLsn }
}

/** ParseCommitRecord() and ParseAbortRecord(), which differ only in parts that an abort never has. */
function preparedXid(record: WalRecord, majorVersion: number): number {
  const number = (offset: number): number => fieldOf(record, offset, 4).getUint32(0, true)
  let at = TIME_SIZE
  let xinfo = 0
  if ((record.info & XLOG_XACT_HAS_INFO) !== 0) {
    xinfo = number(at)
    at += 4
  }
  if ((xinfo & HAS_DBINFO) !== 0) at += 8
  const lists = [
    { flag: HAS_SUBXACTS, itemSize: 4 },
    { flag: HAS_RELFILELOCATORS, itemSize: 12 },
    // an OID said which object's statistics until 17, and a number of 64 bits does since 18
    { flag: HAS_DROPPED_STATS, itemSize: majorVersion >= 18 ? 16 : 12 },
    { flag: HAS_INVALS, itemSize: 16 },
  ]
  for (const { flag, itemSize } of lists) if ((xinfo & flag) !== 0) at += 4 + number(at) * itemSize
  if ((xinfo & HAS_TWOPHASE) === 0) throw unreadable(record)
  return number(at)
}

function fieldOf(record: WalRecord, offset: number, size: number): DataView {
  const { data } = record
  if (offset + size > data.length) throw unreadable(record)
  return new DataView(data.buffer, data.byteOffset + offset, size)
}

/** Its CRC was right: it is of a version that is laid out in another way. */
function unreadable(record: WalRecord): ToolError {
  return new ToolError('damaged', `could not read the WAL record at ${formatLsn(record.lsn)}: it is too short`)
}
