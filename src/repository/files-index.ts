/**
 * `files.jsonl.zst`: one line for every directory, tablespace and file of the cluster: where its bytes are, its
 * checksum, and what no tar header can say (format rule 5).
 */
import { isUtf8 } from 'node:buffer'

/** A directory to make. Tablespaces and directories come before all files. */
export interface DirectoryLine extends PathField {
  type: 'directory'
  /** Octal text: `0700`. */
  mode: string
  uid: number
  gid: number
}

/** A tablespace: a link in pg_tblspc and its location, or a plain directory where it lives in place (T5). */
export interface TablespaceLine extends PathField {
  type: 'tablespace'
  oid: number
  location: string
  mode: string
  uid: number
  gid: number
  inPlace?: true
}

/** A file. Lines of one archive follow one another, in the order of their offsets. */
export interface FileLine extends PathField {
  type: 'file'
  size: number
  mode: string
  uid: number
  gid: number
  /** RFC 3339, UTC. */
  mtime: string
  /** Number of the archive that holds it. */
  archive: number
  /** Of its first byte in the uncompressed tar. */
  offset: number
  /** Hex, of the algorithm that the record names; CRC32C in the byte order of PostgreSQL's manifest. */
  checksum: string
  /** It had shrunk while it was read: the rest is zeros. */
  padded?: true
}

/** `path` where it is UTF-8, else its bytes in hex. */
interface PathField {
  path?: string
  pathHex?: string
}

export type IndexLine = DirectoryLine | TablespaceLine | FileLine

/** The fields that carry a path of bytes. */
export function pathField(path: Buffer): PathField {
  return isUtf8(path) ? { path: path.toString('utf8') } : { pathHex: path.toString('hex') }
}

/** A file's line as text, the bytes that JSON.stringify() of a {@link FileLine} gives: that takes twice as long. */
export function fileLine(file: Omit<FileLine, 'type' | 'path' | 'pathHex' | 'padded'> & FileOfLine): string {
  const { path, size, mode, uid, gid, mtime, archive, offset, checksum, padded } = file
  const name = isUtf8(path) ? `"path":${JSON.stringify(path.toString('utf8'))}` : `"pathHex":"${path.toString('hex')}"`
  const owner = `"mode":"${mode}","uid":${uid},"gid":${gid},"mtime":"${mtime}"`
  const place = `"archive":${archive},"offset":${offset},"checksum":"${checksum}"`
  return `{"type":"file",${name},"size":${size},${owner},${place}${padded ? ',"padded":true' : ''}}`
}

interface FileOfLine {
  path: Buffer
  padded: boolean
}

/** The path of a line, as bytes. */
export function pathOfLine(line: PathField): Buffer {
  return line.pathHex === undefined ? Buffer.from(line.path ?? '', 'utf8') : Buffer.from(line.pathHex, 'hex')
}

/** Permission bits as octal text. */
export function formatMode(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

/** Permission bits without setuid, setgid and sticky, which no file of a cluster has (F10). */
export function parseMode(mode: string): number {
  return parseInt(mode, 8) & 0o777
}

/** The files of each archive, made of their lines by `of`, in the order of the index: an archive at a time is in memory. */
export async function* groupByArchive<T>(
  lines: AsyncIterable<IndexLine>,
  of: (line: FileLine) => T,
): AsyncGenerator<{ archive: number; files: T[] }> {
  let group: { archive: number; files: T[] } | undefined
  for await (const line of lines) {
    if (line.type !== 'file') continue
    if (group && group.archive !== line.archive) {
      yield group
      group = undefined
    }
    group ??= { archive: line.archive, files: [] }
    group.files.push(of(line))
  }
  if (group) yield group
}
