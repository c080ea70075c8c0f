/**
 * Every file of a backup in columns rather than objects: what the walk found, where the file was packed, and its
 * checksum. About 40 bytes a file and its name, so that a cluster of a million files fits in the memory budget. The columns
 * come in blocks: one that grew would be in memory twice while it is copied, and until the collector sees it.
 */
import type { FileColumns, PackedColumns } from './file-columns.js'
import type { FileFacts } from './pack-member.js'

/** What the walk knows of a file. */
export interface WalkedFile extends FileFacts {
  /** Relative to PGDATA, as bytes. */
  path: Buffer
}

const PLANNED = 0
const PACKED = 1
const PADDED = 2
const VANISHED = 3

const BLOCK_ROWS = 16_384
const SLASH = 0x2f

/** The columns of a block. A name is what follows the last slash of a path. */
class Block {
  names: Buffer = Buffer.allocUnsafeSlow(BLOCK_ROWS)
  readonly nameEnd = new Uint32Array(BLOCK_ROWS)
  readonly size = new Float64Array(BLOCK_ROWS)
  readonly mtimeMs = new Float64Array(BLOCK_ROWS)
  readonly offset = new Float64Array(BLOCK_ROWS)
  readonly mode = new Uint16Array(BLOCK_ROWS)
  readonly owner = new Uint16Array(BLOCK_ROWS)
  readonly segment = new Int32Array(BLOCK_ROWS)
  readonly status = new Uint8Array(BLOCK_ROWS)
  readonly checksum: Buffer

  constructor(checksumBytes: number) {
    this.checksum = Buffer.alloc(BLOCK_ROWS * checksumBytes)
  }

  nameStart(at: number): number {
    return at === 0 ? 0 : (this.nameEnd[at - 1] ?? 0)
  }
}

/** Files that follow one another in one directory; `path` ends with a slash, unless it is empty. */
interface Directory {
  firstRow: number
  path: Buffer
}

/** Growing columns. Rows are numbered from 0 in the order they were added. */
export class FileTable {
  readonly #checksumBytes: number
  readonly #blocks: Block[] = []
  /** In the order of their rows. */
  readonly #directories: Directory[] = []
  readonly #owners: { uid: number; gid: number }[] = []
  #length = 0
  /** The directory that was looked up last: the next is most often the same. */
  #found = 0

  /** `checksumBytes`: 4 for CRC32C, 32 for SHA-256. */
  constructor(checksumBytes: number) {
    this.#checksumBytes = checksumBytes
  }

  get length(): number {
    return this.#length
  }

  /** Appends a row and returns its number. */
  add(file: WalkedFile): number {
    const row = this.#length
    const at = row % BLOCK_ROWS
    if (at === 0) this.#blocks.push(new Block(this.#checksumBytes))
    const block = this.#block(row)
    const slash = file.path.lastIndexOf(SLASH) + 1
    const last = this.#directories.at(-1)?.path
    if (last?.length !== slash || last.compare(file.path, 0, slash) !== 0) {
      // not a view: that would keep the whole pool alive which the path is a part of
      const path = Buffer.allocUnsafeSlow(slash)
      file.path.copy(path, 0, 0, slash)
      this.#directories.push({ firstRow: row, path })
    }
    const start = block.nameStart(at)
    const end = start + file.path.length - slash
    if (end > block.names.length) {
      const names = Buffer.allocUnsafeSlow(Math.max(end, block.names.length * 2))
      block.names.copy(names, 0, 0, start)
      block.names = names
    }
    file.path.copy(block.names, start, slash)
    block.nameEnd[at] = end
    block.size[at] = file.size
    block.mtimeMs[at] = file.mtimeMs
    block.mode[at] = file.mode
    block.owner[at] = this.#ownerNumber(file.uid, file.gid)
    block.segment[at] = file.relationSegment ?? -1
    this.#length = row + 1
    return row
  }

  /** The row as the walk found it. The path is a copy. */
  walked(row: number): WalkedFile {
    const block = this.#block(row)
    const at = row % BLOCK_ROWS
    const { uid, gid } = this.#owners[block.owner[at] ?? 0] ?? { uid: 0, gid: 0 }
    const segment = block.segment[at] ?? -1
    const path = Buffer.allocUnsafe(this.pathLength(row))
    this.#putPath(row, path, 0)
    return {
      path,
      size: block.size[at] ?? 0,
      mode: block.mode[at] ?? 0,
      uid,
      gid,
      mtimeMs: block.mtimeMs[at] ?? 0,
      relationSegment: segment < 0 ? undefined : segment,
    }
  }

  /** Announced size in bytes. */
  size(row: number): number {
    return this.#block(row).size[row % BLOCK_ROWS] ?? 0
  }

  /** Bytes of the path. */
  pathLength(row: number): number {
    const block = this.#block(row)
    const at = row % BLOCK_ROWS
    return this.#directory(row).length + (block.nameEnd[at] ?? 0) - block.nameStart(at)
  }

  /** Rows as a thread is sent them. */
  columns(rows: Uint32Array): FileColumns {
    const columns: FileColumns = {
      rows,
      paths: Buffer.alloc(rows.reduce((sum, row) => sum + this.pathLength(row), 0)),
      pathEnd: new Uint32Array(rows.length),
      size: new Float64Array(rows.length),
      mtimeMs: new Float64Array(rows.length),
      mode: new Uint16Array(rows.length),
      owner: new Uint16Array(rows.length),
      segment: new Int32Array(rows.length),
      owners: this.#owners,
    }
    let end = 0
    for (let file = 0; file < rows.length; file++) {
      const row = rows[file] ?? 0
      const block = this.#block(row)
      const at = row % BLOCK_ROWS
      end = this.#putPath(row, columns.paths, end)
      columns.pathEnd[file] = end
      columns.size[file] = block.size[at] ?? 0
      columns.mtimeMs[file] = block.mtimeMs[at] ?? 0
      columns.mode[file] = block.mode[at] ?? 0
      columns.owner[file] = block.owner[at] ?? 0
      columns.segment[file] = block.segment[at] ?? -1
    }
    return columns
  }

  /** Notes what became of files; returns by how much they are larger than they were announced. */
  setPacked(files: PackedColumns): number {
    let grown = 0
    for (const [file, row] of files.rows.entries()) {
      const block = this.#block(row)
      const at = row % BLOCK_ROWS
      const size = files.size[file] ?? 0
      grown += size - (block.size[at] ?? 0)
      block.size[at] = size
      block.offset[at] = files.offset[file] ?? 0
      block.status[at] = files.padded[file] ? PADDED : PACKED
      for (let byte = 0; byte < this.#checksumBytes; byte++) {
        block.checksum[at * this.#checksumBytes + byte] = files.checksum[file * this.#checksumBytes + byte] ?? 0
      }
    }
    return grown
  }

  /** Notes that the file was gone when it was to be opened: it is no part of the backup (F4). */
  setVanished(row: number): void {
    this.#block(row).status[row % BLOCK_ROWS] = VANISHED
  }

  /** Where the file was packed, or undefined where it vanished. Throws for a row that no archive accounted for. */
  packed(row: number): { offset: number; checksum: string; padded: boolean } | undefined {
    const block = this.#block(row)
    const at = row % BLOCK_ROWS
    const status = block.status[at] ?? PLANNED
    if (status === VANISHED) return undefined
    if (status === PLANNED) throw new Error(`no archive accounts for "${this.walked(row).path.toString()}"`)
    const checksum = block.checksum.toString('hex', at * this.#checksumBytes, (at + 1) * this.#checksumBytes)
    return { offset: block.offset[at] ?? 0, checksum, padded: status === PADDED }
  }

  #block(row: number): Block {
    const block = this.#blocks[Math.floor(row / BLOCK_ROWS)]
    if (!block) throw new RangeError(`no file has the row ${row}`)
    return block
  }

  /** Copies the path of a row; returns where it ends. */
  #putPath(row: number, to: Uint8Array, start: number): number {
    const block = this.#block(row)
    const at = row % BLOCK_ROWS
    const directory = this.#directory(row)
    to.set(directory, start)
    const [from, end] = [block.nameStart(at), block.nameEnd[at] ?? 0]
    block.names.copy(to, start + directory.length, from, end)
    return start + directory.length + end - from
  }

  /** Its path: the last that begins at this row or before it. */
  #directory(row: number): Buffer {
    const all = this.#directories
    const begins = (directory: number): number => all[directory]?.firstRow ?? Infinity
    if (begins(this.#found) > row || begins(this.#found + 1) <= row) {
      let [low, high] = [0, all.length - 1]
      while (low < high) {
        const middle = Math.ceil((low + high) / 2)
        if (begins(middle) <= row) low = middle
        else high = middle - 1
      }
      this.#found = low
    }
    return all[this.#found]?.path ?? Buffer.alloc(0)
  }

  #ownerNumber(uid: number, gid: number): number {
    const known = this.#owners.findIndex((owner) => owner.uid === uid && owner.gid === gid)
    return known >= 0 ? known : this.#owners.push({ uid, gid }) - 1
  }
}
