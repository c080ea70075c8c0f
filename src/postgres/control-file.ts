/**
 * global/pg_control: what a cluster says of itself, and the one file that decides how it starts.
 *
 * The server rewrites it in place, and on common file systems a reader can see half of the old and half of the new
 * contents (F16). So bytes count only if their CRC is right, and a read that caught the server writing is repeated.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { reasonOf, ToolError } from '../errors.js'
import { crc32c } from './checksum.js'
import type { Lsn } from './lsn.js'

/** What is read of ControlFileData (pg_control.h). */
export interface ControlFile {
  systemIdentifier: bigint
  /** Version of this file's format: 1300 for PostgreSQL 13 to 16, 1700, 1800. */
  controlVersion: number
  catalogVersion: number
  /** DBState: the number, and pg_controldata's words for it. */
  state: { number: number; text: string }
  /** LSN of the latest checkpoint record. */
  checkpointLsn: Lsn
  /** Where replay from that checkpoint begins. */
  checkpointRedoLsn: Lsn
  checkpointTimeline: number
  /** 0/0 unless the cluster is in recovery or was copied from one that was. */
  minRecoveryPoint: Lsn
  minRecoveryPointTimeline: number
  /** wal_level at the last start; a number that is none of the three comes out as its digits. */
  walLevel: string
  walLogHints: boolean
  maxConnections: number
  maxWorkerProcesses: number
  maxWalSenders: number
  maxPreparedTransactions: number
  maxLocksPerTransaction: number
  /** Size of a data page in bytes. */
  blockSize: number
  /** Pages in one file of a relation. */
  relationSegmentBlocks: number
  /** Size of a WAL page in bytes. */
  walBlockSize: number
  /** Size of a WAL segment in bytes. */
  walSegmentSize: number
  /** 1 when pages have checksums, 0 when not. */
  dataChecksumVersion: number
}

/** Size of the file whatever the format (PG_CONTROL_FILE_SIZE); the rest is zeros. */
export const CONTROL_FILE_SIZE = 8192

/** How long the server may take to finish writing 8 KiB. */
const RETRY_MS = 50

/**
 * Where the CRC is, which covers all before it: the last member of the struct. Version 1800 has default_char_signedness
 * before the nonce, which moves the CRC by four bytes; all fields read below lie before that in every version.
 */
const CRC_OFFSETS: Readonly<Record<number, number>> = { 1300: 288, 1700: 288, 1800: 292 }

/** dbState() in pg_controldata.c. */
const STATES = [
  'starting up',
  'shut down',
  'shut down in recovery',
  'shutting down',
  'in crash recovery',
  'in archive recovery',
  'in production',
]

const WAL_LEVELS = ['minimal', 'replica', 'logical']

/**
 * Reads the contents of pg_control, written on a 64-bit little-endian machine by PostgreSQL 13 to 18.
 *
 * @throws ToolError `damaged` when the CRC is wrong, `refused` when the format is of another version
 */
export function parseControlFile(bytes: Uint8Array): ControlFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.byteLength < 512) throw new ToolError('damaged', `pg_control has only ${bytes.byteLength} bytes`)
  const u32 = (offset: number) => view.getUint32(offset, true)
  const u64 = (offset: number) => view.getBigUint64(offset, true)

  const controlVersion = u32(8)
  const crcOffset = CRC_OFFSETS[controlVersion]
  if (crcOffset === undefined) throw unknownVersion(controlVersion)
  if (crc32c(bytes.subarray(0, crcOffset)) !== u32(crcOffset)) {
    throw new ToolError('damaged', 'pg_control is damaged: its CRC does not match its contents')
  }

  const state = u32(16)
  const walLevel = u32(172)
  return {
    systemIdentifier: u64(0),
    controlVersion,
    catalogVersion: u32(12),
    state: { number: state, text: STATES[state] ?? `unknown state ${state}` },
    checkpointLsn: u64(32),
    // checkPointCopy, from 40 to 128
    checkpointRedoLsn: u64(40),
    checkpointTimeline: u32(48),
    minRecoveryPoint: u64(136),
    minRecoveryPointTimeline: u32(144),
    walLevel: WAL_LEVELS[walLevel] ?? String(walLevel),
    walLogHints: view.getUint8(176) !== 0,
    maxConnections: u32(180),
    maxWorkerProcesses: u32(184),
    maxWalSenders: u32(188),
    maxPreparedTransactions: u32(192),
    maxLocksPerTransaction: u32(196),
    blockSize: u32(216),
    relationSegmentBlocks: u32(220),
    walBlockSize: u32(224),
    walSegmentSize: u32(228),
    dataChecksumVersion: u32(252),
  }
}

/**
 * Reads `global/pg_control` of a data directory whose server may be running (F16): each time all of it at once, and
 * again while its CRC is wrong. Gives up when two reads bring the same wrong bytes, since nobody is writing then.
 *
 * @throws ToolError `file-system` when it cannot be read; `damaged` or `refused` as {@link parseControlFile}
 */
export async function readControlFile(
  pgdata: string,
  options: { /** Reads after the first. @default 10 */ retries?: number } = {},
): Promise<{ bytes: Buffer; control: ControlFile }> {
  const { retries = 10 } = options
  const path = join(pgdata, 'global', 'pg_control')
  let previous: Buffer | undefined
  for (let attempt = 0; ; attempt++) {
    const bytes = await readWhole(path)
    try {
      return { bytes, control: parseControlFile(bytes) }
    } catch (error) {
      if (attempt >= retries || previous?.equals(bytes) === true) throw inFile(path, error)
      previous = bytes
    }
    await setTimeout(RETRY_MS)
  }
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    await using file = await open(path, 'r')
    const buffer = Buffer.alloc(CONTROL_FILE_SIZE)
    const { bytesRead } = await file.read(buffer, 0, CONTROL_FILE_SIZE, 0)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(error)}`, { cause: error })
  }
}

function unknownVersion(version: number): ToolError {
  // The value a big-endian machine would have written, as ReadControlFile() in xlog.c tells it.
  const swapped = version % 65536 === 0 && version / 65536 > 0
  return new ToolError('refused', `pg_control has the format version ${version}, which is not known`, {
    hint: swapped ? 'The byte order is not that of this machine.' : 'PostgreSQL 13 to 18 are supported.',
  })
}

function inFile(path: string, error: unknown): unknown {
  if (!(error instanceof ToolError)) return error
  return new ToolError(error.code, `could not use "${path}": ${error.message}`, { hint: error.hint, cause: error })
}
