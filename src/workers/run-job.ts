/** The one switch from a job to the function that does it. */
import { ArchiveReader } from '../archive/archive-reader.js'
import { createFrameMemory, type FrameMemory } from '../archive/archive-source.js'
import { extractArchive } from '../archive/extract-archive.js'
import type { Job, JobContext, JobResult } from '../archive/jobs.js'
import { packArchive } from '../archive/pack-archive.js'
import { verifyArchive } from '../archive/verify-archive.js'
import { verifyWal } from '../archive/verify-wal.js'
import type { Storage } from '../storage/storage.js'

/**
 * A function that runs jobs one after the other, with memory that is reused from job to job. `aheadBytes`: what may be
 * loaded ahead of an extraction.
 */
export function createJobRunner(
  storage: Storage,
  aheadBytes: number,
): (job: Job, context: JobContext) => Promise<JobResult> {
  let memory: FrameMemory | undefined
  let rooms: readonly [Uint8Array, Uint8Array] | undefined
  const reader = new ArchiveReader(storage, { aheadBytes })
  return (job, context) => {
    switch (job.kind) {
      case 'pack':
        return packArchive(job, storage, (memory ??= createFrameMemory()), context)
      case 'extract':
        rooms ??= [createFrameMemory().bytes, createFrameMemory().bytes]
        return extractArchive(job, reader, rooms, context)
      case 'verify':
        return verifyArchive(job, storage, context)
      case 'verify-wal':
        return verifyWal(job, storage, context)
    }
  }
}
