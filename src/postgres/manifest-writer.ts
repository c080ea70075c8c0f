/**
 * Writes PostgreSQL's backup_manifest piece by piece, so that pg_verifybackup accepts what a restore brings back (E13).
 *
 * The spelling is that of backup_manifest.c, byte for byte. The checksum of the manifest covers all bytes before its own
 * line and is kept while they are made, so a manifest of a million files is never in memory.
 */
import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import type { ChecksumAlgorithm } from './checksum.js'
import { formatLsn, type Lsn } from './lsn.js'

/** Text that is hashed at a time, in bytes. */
const HASH_BYTES = 16_384
/** Most bytes that a UTF-16 unit becomes. */
const UNIT_BYTES = 3

/** One file of the backup, as the manifest names it. */
export interface ManifestWriterFile {
  /** Relative to PGDATA; files of tablespaces below `pg_tblspc/<oid>/`. */
  path: Buffer
  /** Bytes as they are in the backup. */
  size: number
  /** Taken before the file was read. */
  mtimeMs: number
  /** Over the bytes as they are in the backup; `hex` in the manifest's spelling. */
  checksum?: { algorithm: ChecksumAlgorithm; hex: string } | undefined
}

/** WAL needed to replay the backup, on one timeline. */
export interface WalRange {
  timeline: number
  startLsn: Lsn
  endLsn: Lsn
}

/**
 * Makes the text of one manifest: `start`, `file` for each file, `finish`. Each returns the text to append, and all of
 * it has to be appended in that order and encoded as UTF-8.
 */
export class ManifestWriter {
  readonly #version: 1 | 2
  readonly #systemIdentifier: bigint | undefined
  readonly #hash = createHash('sha256')
  /** Made, and not yet in the hash: a call for each file costs more than the hashing. Bytes, as text would stay in the heap. */
  readonly #unhashed = Buffer.allocUnsafe(HASH_BYTES)
  #filled = 0
  /** Files of one second follow one another, and the text of a time is dear. */
  #second = NaN
  #secondText = ''
  #isFirstFile = true

  /**
   * @param options version 1 for PostgreSQL 13 to 16; version 2, with the system identifier, from 17 on
   * @throws TypeError when version 2 lacks the system identifier
   */
  constructor(options: { version: 1 | 2; systemIdentifier?: bigint | undefined }) {
    if (options.version === 2 && options.systemIdentifier === undefined) {
      throw new TypeError('a manifest of version 2 names the system identifier')
    }
    this.#version = options.version
    this.#systemIdentifier = options.systemIdentifier
  }

  start(): string {
    const identifier = this.#version === 2 ? `"System-Identifier": ${this.#systemIdentifier},\n` : ''
    return this.#hashed(`{ "PostgreSQL-Backup-Manifest-Version": ${this.#version},\n${identifier}"Files": [`)
  }

  file(file: ManifestWriterFile): string {
    const separator = this.#isFirstFile ? '\n' : ',\n'
    this.#isFirstFile = false
    // JSON is UTF-8, names are bytes.
    const path = isUtf8(file.path)
      ? `"Path": ${JSON.stringify(file.path.toString())}`
      : `"Encoded-Path": "${file.path.toString('hex')}"`
    const { checksum } = file
    const sum = checksum && `, "Checksum-Algorithm": "${checksum.algorithm}", "Checksum": "${checksum.hex}"`
    return this.#hashed(
      `${separator}{ ${path}, "Size": ${file.size}, "Last-Modified": "${this.#time(file.mtimeMs)}"${sum ?? ''} }`,
    )
  }

  /** Ends the manifest. Ranges come newest timeline first (AddWALInfoToBackupManifest()). */
  finish(walRanges: readonly WalRange[]): string {
    const ranges = walRanges.map(
      ({ timeline, startLsn, endLsn }) =>
        `{ "Timeline": ${timeline}, "Start-LSN": "${formatLsn(startLsn)}", "End-LSN": "${formatLsn(endLsn)}" }`,
    )
    const text = this.#hashed(`\n],\n"WAL-Ranges": [\n${ranges.join(',\n')}\n],\n`)
    this.#hashAll()
    return `${text}"Manifest-Checksum": "${this.#hash.digest('hex')}"}\n`
  }

  #hashed(text: string): string {
    const most = text.length * UNIT_BYTES
    if (this.#filled + most > HASH_BYTES) this.#hashAll()
    if (most > HASH_BYTES) this.#hash.update(text)
    else this.#filled += this.#unhashed.write(text, this.#filled)
    return text
  }

  #hashAll(): void {
    this.#hash.update(this.#unhashed.subarray(0, this.#filled))
    this.#filled = 0
  }

  /** `2026-03-01 02:00:00 GMT`: whole seconds, always in GMT. */
  #time(ms: number): string {
    const second = Math.floor(ms / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#secondText = `${new Date(second * 1000).toISOString().slice(0, 19).replace('T', ' ')} GMT`
    }
    return this.#secondText
  }
}
