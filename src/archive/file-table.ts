/**
 * Every file of a backup in columns rather than objects: what the walk found, where the file was packed, and its
 * checksum. About 50 bytes a file and its path, so that a cluster of a million files fits in the memory budget.
 */

/** What the walk knows of a file. */
export interface WalkedFile {
  /** Relative to PGDATA, as bytes. */
  path: Buffer
  size: number
  mode: number
  uid: number
  gid: number
  mtimeMs: number
  /** Number of the 1 GiB segment within its relation fork, or undefined for what is no relation file. */
  relationSegment?: number | undefined
}

/** What became of a file when its archive was packed. */
export interface PackedFile {
  index: number
  /** Bytes as packed: what was announced, or more for a configuration file that has grown. */
  size: number
  /** Of its first byte in the uncompressed tar. */
  offset: number
  /** Raw bytes of the checksum as hex in the manifest's order. */
  checksum: string
  /** The file had shrunk: the rest of its announced size was stored as zeros (F2). */
  padded: boolean
}

const PLANNED = 0
const PACKED = 1
const PADDED = 2
const VANISHED = 3

/** Growing columns. Rows are numbered from 0 in the order they were added. */
export class FileTable {
  readonly #checksumBytes: number
  #length = 0
  #paths = Buffer.allocUnsafe(1 << 16)
  #pathEnd = new Uint32Array(1024)
  #size = new Float64Array(1024)
  #mtimeMs = new Float64Array(1024)
  #offset = new Float64Array(1024)
  #mode = new Uint16Array(1024)
  #owner = new Uint16Array(1024)
  #segment = new Int32Array(1024)
  #archive = new Uint32Array(1024)
  #status = new Uint8Array(1024)
  #checksum: Buffer
  readonly #owners: { uid: number; gid: number }[] = []

  /** `checksumBytes`: 4 for CRC32C, 32 for SHA-256. */
  constructor(checksumBytes: number) {
    this.#checksumBytes = checksumBytes
    this.#checksum = Buffer.alloc(1024 * checksumBytes)
  }

  get length(): number {
    return this.#length
  }

  /** Appends a row and returns its number. */
  add(file: WalkedFile): number {
    const row = this.#length
    if (row === this.#size.length) this.#grow()
    const pathStart = row === 0 ? 0 : (this.#pathEnd[row - 1] ?? 0)
    const pathEnd = pathStart + file.path.length
    while (pathEnd > this.#paths.length) this.#paths = enlarged(this.#paths, Buffer.allocUnsafe(this.#paths.length * 2))
    file.path.copy(this.#paths, pathStart)
    this.#pathEnd[row] = pathEnd
    this.#size[row] = file.size
    this.#mtimeMs[row] = file.mtimeMs
    this.#mode[row] = file.mode
    this.#owner[row] = this.#ownerNumber(file.uid, file.gid)
    this.#segment[row] = file.relationSegment ?? -1
    this.#length = row + 1
    return row
  }

  /** The row as the walk found it. The path is a copy. */
  walked(row: number): WalkedFile {
    const { uid, gid } = this.#owners[this.#owner[row] ?? 0] ?? { uid: 0, gid: 0 }
    const segment = this.#segment[row] ?? -1
    const path = Buffer.allocUnsafe(this.pathLength(row))
    this.#paths.copy(path, 0, row === 0 ? 0 : this.#pathEnd[row - 1])
    return {
      path,
      size: this.#size[row] ?? 0,
      mode: this.#mode[row] ?? 0,
      uid,
      gid,
      mtimeMs: this.#mtimeMs[row] ?? 0,
      relationSegment: segment < 0 ? undefined : segment,
    }
  }

  /** Announced size in bytes. */
  size(row: number): number {
    return this.#size[row] ?? 0
  }

  /** Bytes of the path. */
  pathLength(row: number): number {
    return (this.#pathEnd[row] ?? 0) - (row === 0 ? 0 : (this.#pathEnd[row - 1] ?? 0))
  }

  /** Notes that the file lies in that archive. */
  setPacked(archive: number, file: PackedFile): void {
    this.#archive[file.index] = archive
    this.#size[file.index] = file.size
    this.#offset[file.index] = file.offset
    this.#status[file.index] = file.padded ? PADDED : PACKED
    this.#checksum.write(file.checksum, file.index * this.#checksumBytes, this.#checksumBytes, 'hex')
  }

  /** Notes that the file was gone when it was to be opened: it is no part of the backup (F4). */
  setVanished(row: number): void {
    this.#status[row] = VANISHED
  }

  /** Where the file was packed, or undefined where it vanished. Throws for a row that no archive accounted for. */
  packed(row: number): { archive: number; offset: number; checksum: string; padded: boolean } | undefined {
    const status = this.#status[row] ?? PLANNED
    if (status === VANISHED) return undefined
    if (status === PLANNED) throw new Error(`no archive accounts for "${this.walked(row).path.toString()}"`)
    const at = row * this.#checksumBytes
    return {
      archive: this.#archive[row] ?? 0,
      offset: this.#offset[row] ?? 0,
      checksum: this.#checksum.toString('hex', at, at + this.#checksumBytes),
      padded: status === PADDED,
    }
  }

  #ownerNumber(uid: number, gid: number): number {
    const known = this.#owners.findIndex((owner) => owner.uid === uid && owner.gid === gid)
    return known >= 0 ? known : this.#owners.push({ uid, gid }) - 1
  }

  #grow(): void {
    const rows = this.#size.length * 2
    this.#pathEnd = enlarged(this.#pathEnd, new Uint32Array(rows))
    this.#size = enlarged(this.#size, new Float64Array(rows))
    this.#mtimeMs = enlarged(this.#mtimeMs, new Float64Array(rows))
    this.#offset = enlarged(this.#offset, new Float64Array(rows))
    this.#mode = enlarged(this.#mode, new Uint16Array(rows))
    this.#owner = enlarged(this.#owner, new Uint16Array(rows))
    this.#segment = enlarged(this.#segment, new Int32Array(rows))
    this.#archive = enlarged(this.#archive, new Uint32Array(rows))
    this.#status = enlarged(this.#status, new Uint8Array(rows))
    this.#checksum = enlarged(this.#checksum, Buffer.alloc(rows * this.#checksumBytes))
  }
}

function enlarged<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from)
  return to
}
