/** What goes into an archive, one file or directory, as the thread that packs it sees it. */

/** A member to pack. */
export interface PackMember {
  /** Row in the file table; -1 for a directory. */
  index: number
  type: 'file' | 'directory'
  /** Relative to PGDATA (latin1). */
  path: string
  /** Bytes announced: cut to it, or padded to it with zeros (F1, F2). */
  size: number
  mode: number
  uid: number
  gid: number
  mtimeMs: number
  /** Segment number within the relation fork, or undefined for what is no relation file. */
  relationSegment?: number | undefined
  /** A configuration file: read as long as it is when it is opened. */
  isConfiguration?: boolean
  /** The body itself, for what was read already (pg_control). */
  body?: Uint8Array
}
