/**
 * What is sent to a worker thread and what comes back: plain data. Names are byte strings (latin1, one character a
 * byte), since names of files are bytes and plain strings cross threads cheaply.
 */
import type { ChecksumAlgorithm } from '../postgres/checksum.js'
import type { RateLimit } from '../streams/rate-limit.js'
import type { FileColumns, PackedColumns } from './file-columns.js'
import type { PackMember } from './pack-member.js'

/** Pack these members into one archive. */
export interface PackJob {
  kind: 'pack'
  /** Number of the archive within the backup. */
  archive: number
  key: string
  /** PGDATA (latin1). */
  dataDirectory: string
  members: PackMember[]
  /** Files that follow the members. */
  files?: FileColumns | undefined
  /** Upper bound of the object in bytes. */
  objectBound: number
  checksumAlgorithm: ChecksumAlgorithm
  compressionLevel: number
  /** Read little at a time. Default false. */
  smallReads?: boolean
  /** Verify page checksums (C2), where the cluster has them. */
  pages?: { blockSize: number; segmentBlocks: number } | undefined
}

/** Corrupt pages of one file, as ranges of absolute block numbers. */
export interface PageErrors {
  /** latin1. */
  path: string
  pages: number
  /** First and last block of each run, at most 100 runs. */
  ranges: [number, number][]
  /** Of the first corrupt page: what its header says, and what its content gives. */
  first: { block: number; stored: number; computed: number; lsn: string }
}

/** A remark on one file that was packed all the same. */
export interface FileRemark {
  /** latin1. */
  path: string
  remark: string
}

/** What packing an archive gave. */
export interface PackResult {
  kind: 'packed'
  archive: number
  key: string
  files: PackedColumns
  vanished: number[]
  pageErrors: PageErrors[]
  remarks: FileRemark[]
  /** Bytes of the uncompressed tar. */
  tarBytes: number
  storedBytes: number
  /** Of the stored object, hex. */
  sha256: string
}

/** A file to write. */
export interface ExtractFile {
  /** latin1, relative to PGDATA. */
  path: string
  size: number
  mode: number
  uid: number
  gid: number
  /** Of its first byte in the uncompressed tar. */
  offset: number
  checksum: string
}

/** Write these files of one archive. */
export interface ExtractJob {
  kind: 'extract'
  archive: number
  key: string
  /** Size of the object, as recorded. */
  storedBytes: number
  /** Target directory (latin1). */
  targetDirectory: string
  /** In the order of their offsets. */
  files: ExtractFile[]
  checksumAlgorithm: ChecksumAlgorithm
  /** Give files to their recorded owners (only root can). */
  setOwner: boolean
  /** Of the stored object, hex: compared as well, where it is given. */
  sha256?: string | undefined
}

/** What extracting an archive gave. */
export interface ExtractResult {
  kind: 'extracted'
  archive: number
  key: string
  files: number
  bytes: number
}

/** A file that an archive must hold. */
export interface ExpectedFile {
  /** latin1, relative to PGDATA. */
  path: string
  size: number
  offset: number
  checksum: string
}

/** What pg_control must say. */
export interface ControlFacts {
  systemIdentifier: string
  catalogVersion: number
  blockSize: number
  walSegmentSize: number
  dataChecksums: boolean
  /** LSN of the checkpoint that began the backup: pg_control was read later. */
  checkpointLsn: string
}

/** Read this archive whole and compare it with what it should be; nothing is written. */
export interface VerifyJob {
  kind: 'verify'
  key: string
  /** Of the stored object, hex. Not known where the index of objects is damaged. */
  sha256?: string | undefined
  /** In the order of their offsets. Not known where the index of files is damaged. */
  files?: ExpectedFile[] | undefined
  checksumAlgorithm: ChecksumAlgorithm
  control: ControlFacts
  /** Verify page checksums, where the cluster has them. `startLsn`: of the backup. */
  pages?: { blockSize: number; segmentBlocks: number; startLsn: string } | undefined
  /** Corrupt pages that the backup found in its source: their path is UTF-8 text. */
  knownPageErrors: { path: string; pages: number; ranges: [number, number][] }[]
}

/** Read these WAL files whole and compare each with its head and its name. */
export interface VerifyWalJob {
  kind: 'verify-wal'
  cluster: { name: string; systemIdentifier: string; walSegmentSize: number }
  /** Names of WAL segments and history files. */
  names: string[]
}

/** Something wrong with one object. */
export interface FoundFault {
  key: string
  place?: string
  problem: string
}

/** What was found. */
export interface VerifyResult {
  kind: 'verified'
  /** Of the archive; of WAL undefined. */
  key: string | undefined
  faults: FoundFault[]
  /** Bytes that were read from the store. */
  bytes: number
  /** Blocks in one file of a relation, where pg_control was read. */
  segmentBlocks?: number | undefined
}

export type Job = PackJob | ExtractJob | VerifyJob | VerifyWalJob
export type JobResult = PackResult | ExtractResult | VerifyResult

/** What a job is given besides its data. */
export interface JobContext {
  signal: AbortSignal
  /** Adds to the bytes done; cheap enough for every frame. */
  addProgress: (bytes: number) => void
  /** Of what is read from the data directory. */
  reads?: RateLimit | undefined
  onUploadStarted?: (upload: { key: string; uploadId: string }) => void
}
