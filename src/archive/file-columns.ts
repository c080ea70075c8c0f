/**
 * The files of one archive as they cross threads: in columns. Thousands of objects would be cloned twice on their way, and
 * the collector of each thread would look at all of them again and again (docs/performance.md).
 */
import type { PackMember } from './pack-member.js'

/** Files to pack, in the order of the archive. All columns have one element a file, unless they say otherwise. */
export interface FileColumns {
  /** Rows in the file table. */
  rows: Uint32Array
  /** All paths, one after the other. */
  paths: Uint8Array
  /** Where each path ends. */
  pathEnd: Uint32Array
  size: Float64Array
  mtimeMs: Float64Array
  mode: Uint16Array
  /** Index in `owners`. */
  owner: Uint16Array
  /** Segment number within the relation fork; -1 for what is no relation file. */
  segment: Int32Array
  /** Each pair that occurs. */
  owners: { uid: number; gid: number }[]
}

/** What became of the files that were packed, in the order of the archive. */
export interface PackedColumns {
  /** Rows in the file table. */
  rows: Uint32Array
  /** Bytes as packed: what was announced, or more for a configuration file that has grown. */
  size: Float64Array
  /** Of the first byte in the uncompressed tar. */
  offset: Float64Array
  /** 1: the file had shrunk, and the rest of its announced size was stored as zeros (F2). */
  padded: Uint8Array
  /** Raw bytes in the manifest's order, as many a file as the algorithm gives. */
  checksum: Uint8Array
}

/** The files as members, one at a time. */
export function* filesOf(files: FileColumns): Generator<PackMember, void, undefined> {
  const { rows, pathEnd, size, mtimeMs, mode, owner, segment, owners } = files
  const paths = Buffer.from(files.paths.buffer, files.paths.byteOffset, files.paths.length)
  let start = 0
  for (let file = 0; file < rows.length; file++) {
    const end = pathEnd[file] ?? 0
    const path = paths.toString('latin1', start, end)
    start = end
    const { uid, gid } = owners[owner[file] ?? 0] ?? { uid: 0, gid: 0 }
    const relationSegment = segment[file] ?? -1
    yield {
      index: rows[file] ?? 0,
      type: 'file',
      path,
      size: size[file] ?? 0,
      mode: mode[file] ?? 0,
      uid,
      gid,
      mtimeMs: mtimeMs[file] ?? 0,
      relationSegment: relationSegment < 0 ? undefined : relationSegment,
      isConfiguration: path.endsWith('.conf') && !path.includes('/'),
    }
  }
}

/** Collects what became of files. */
export class PackedFiles {
  #length = 0
  readonly #rows: Uint32Array
  readonly #size: Float64Array
  readonly #offset: Float64Array
  readonly #padded: Uint8Array
  readonly #checksum: Buffer
  readonly #checksumBytes: number

  /** `files`: the most that will be added. `checksumBytes`: 4 for CRC32C, 32 for SHA-256. */
  constructor(files: number, checksumBytes: number) {
    this.#rows = new Uint32Array(files)
    this.#size = new Float64Array(files)
    this.#offset = new Float64Array(files)
    this.#padded = new Uint8Array(files)
    this.#checksum = Buffer.alloc(files * checksumBytes)
    this.#checksumBytes = checksumBytes
  }

  /** `checksum` in hex. */
  add(file: { index: number; size: number; offset: number; padded: boolean; checksum: string }): void {
    const at = this.#length++
    this.#rows[at] = file.index
    this.#size[at] = file.size
    this.#offset[at] = file.offset
    this.#padded[at] = file.padded ? 1 : 0
    this.#checksum.write(file.checksum, at * this.#checksumBytes, this.#checksumBytes, 'hex')
  }

  /** All that was added. */
  columns(): PackedColumns {
    const length = this.#length
    return {
      rows: this.#rows.slice(0, length),
      size: this.#size.slice(0, length),
      offset: this.#offset.slice(0, length),
      padded: this.#padded.slice(0, length),
      checksum: Uint8Array.from(this.#checksum.subarray(0, length * this.#checksumBytes)),
    }
  }
}
