/** What goes into an archive, one file or directory, as the walk found it and as the thread that packs it sees it. */

/** What is known of a file or directory besides its path. */
export interface FileFacts {
  /** Bytes announced: cut to it, or padded to it with zeros (F1, F2). */
  size: number
  mode: number
  uid: number
  gid: number
  mtimeMs: number
  /** Number of the 1 GiB segment within its relation fork, or undefined for what is no relation file. */
  relationSegment?: number | undefined
}

/** A member to pack. */
export interface PackMember extends FileFacts {
  /** Row in the file table; -1 for a directory. */
  index: number
  type: 'file' | 'directory'
  /** Relative to PGDATA (latin1). */
  path: string
  /** A configuration file: read as long as it is when it is opened. */
  isConfiguration?: boolean
  /** The body itself, for what was read already (pg_control). */
  body?: Uint8Array
}
