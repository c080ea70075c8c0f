/**
 * Cuts the files of a backup into archives: each file once, sizes bounded, the largest archives first so that all
 * threads end together. `global/pg_control` is not planned here: it is read after everything else (E7).
 */
import { compressedBound } from '../streams/zstd-compress.js'
import { TAR_END_BYTES, tarHeaderBound } from '../streams/tar-header.js'
import type { FileTable } from './file-table.js'

/** A frame holds at most this many uncompressed bytes (format rule 5). */
export const FRAME_BYTES = 8 * 1024 * 1024
/** Files from this size on begin a frame of their own right after their header (format rule 5). */
export const OWN_FRAMES_BYTES = 1024 * 1024

const MiB = 1024 * 1024
/** Files do not fill shares exactly: what is left over must not become an archive of its own. */
const EVEN_SHARE = 1.1

/** Room for configuration files that grow between the walk and their turn. */
const GROWTH_BYTES = 4 * 1024 * 1024

/** Most files of one archive: bounds its job and its result, which are objects of JavaScript while they cross threads. */
const MAX_FILES = 2000

/** The files of one archive, by their row in the table. */
export interface ArchivePlan {
  rows: Uint32Array
  /** Upper bound of the uncompressed tar in bytes. */
  tarBytes: number
}

/** Limits of {@link planArchives}. */
export interface PlanOptions {
  /** Archives are closed when they would pass this many bytes; a larger file gets an archive of its own. */
  targetBytes: number
  /** Most files of one archive: bounds the job that a thread is sent, and its result. */
  maxFiles?: number
}

/**
 * A size of archives that keeps `jobs` threads busy to the end: 16 rounds, but neither tiny nor huge objects. Where the store
 * is far, an archive begins and ends with round trips in which its thread sends nothing: few archives then, an equal share each.
 */
export function archiveTargetBytes(totalBytes: number, jobs: number, { isFar = false } = {}): number {
  const least = isFar ? Math.min(Math.ceil((totalBytes / jobs) * EVEN_SHARE), 128 * MiB) : 0
  return Math.min(Math.max(Math.ceil(totalBytes / (jobs * 16)), least, 32 * MiB), 1024 * MiB)
}

/** Plans archives over all rows of the table, in walk order within an archive, largest archive first. */
export function planArchives(files: FileTable, options: PlanOptions): ArchivePlan[] {
  const maxFiles = options.maxFiles ?? MAX_FILES
  const plans: ArchivePlan[] = []
  let rows: number[] = []
  let tarBytes = TAR_END_BYTES
  const close = (): void => {
    if (rows.length > 0) plans.push({ rows: Uint32Array.from(rows), tarBytes })
    rows = []
    tarBytes = TAR_END_BYTES
  }
  for (let row = 0; row < files.length; row++) {
    const member = memberBytes(files.pathLength(row), files.size(row))
    if (member + TAR_END_BYTES >= options.targetBytes) {
      plans.push({ rows: Uint32Array.of(row), tarBytes: member + TAR_END_BYTES })
      continue
    }
    if (tarBytes + member > options.targetBytes || rows.length === maxFiles) close()
    rows.push(row)
    tarBytes += member
  }
  close()
  return plans.sort((a, b) => b.tarBytes - a.tarBytes)
}

/** Most bytes that a tar without members can take. */
export const EMPTY_TAR_BYTES = TAR_END_BYTES

/** Most bytes that a tar of those members can take. */
export function memberBytes(pathLength: number, size: number): number {
  return tarHeaderBound(pathLength) + Math.ceil(size / 512) * 512
}

/** Most bytes that the object of an archive can have: decides the part size, so that 10,000 parts are never met (O2). */
export function objectBound(tarBytes: number, members: number): number {
  return compressedBound(tarBytes + GROWTH_BYTES, Math.ceil(tarBytes / FRAME_BYTES) + 2 * members + 2)
}
