/** Job: files of the data directory → tar → zstd frames → one object in the repository. */
import { ExistsError } from '../errors.js'
import { hasContent } from '../storage/has-content.js'
import type { Storage } from '../storage/storage.js'
import { ArchiveSource, type FrameMemory } from './archive-source.js'
import type { JobContext, PackJob, PackResult } from './jobs.js'

/** Packs one archive. Rejects with what failed first; nothing is stored then, and no upload is left open. */
export async function packArchive(
  job: PackJob,
  storage: Storage,
  memory: FrameMemory,
  context: JobContext,
): Promise<PackResult> {
  const source = new ArchiveSource(job, memory, context)
  try {
    const { onUploadStarted, signal } = context
    const options = { ifAbsent: true, maxSize: job.objectBound, signal, ...(onUploadStarted && { onUploadStarted }) }
    const echo = await storage.put(job.key, source, options).then(() => undefined, onlyExists)
    const { vanished, pageErrors, remarks, tarBytes, storedBytes } = source
    const { archive, key } = job
    const files = source.files.columns()
    const sha256 = source.digest()
    // the id of the backup is random, so what exists can only be our own upload whose answer was lost; still, compare
    if (echo && !(await hasContent(storage, { key, size: storedBytes, sha256 }, signal))) throw echo
    return { kind: 'packed', archive, key, files, vanished, pageErrors, remarks, tarBytes, storedBytes, sha256 }
  } finally {
    source.close()
  }
}

function onlyExists(error: unknown): ExistsError {
  if (error instanceof ExistsError) return error
  throw error
}
