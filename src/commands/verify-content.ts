/** The content of one backup: every object is read back, the archives on worker threads, and compared (V1, V3). */
import type { ExpectedFile, Job, JobResult, VerifyJob, VerifyResult } from '../archive/jobs.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { proveObject, type ProvenMetadata } from '../repository/backup-proof.js'
import type { FaultList } from '../repository/fault-list.js'
import { groupByArchive, pathOfLine, type FileLine, type IndexLine } from '../repository/files-index.js'
import { archiveKey, basePrefix, CONFIG_FOLDER, FILES_INDEX, parseClusterName } from '../repository/layout.js'
import { readIndexLines } from '../repository/proven-lines.js'
import type { Storage } from '../storage/storage.js'

/** Runs jobs, and gives each result as it is done. */
export type RunJobs = (jobs: AsyncIterable<Job> | Iterable<Job>, signal: AbortSignal) => AsyncIterable<JobResult>

/** Reads everything back. What has a fault already is not read: it is known to be wrong. */
export async function verifyContent(
  storage: Storage,
  record: BackupRecord,
  known: ProvenMetadata,
  faults: FaultList,
  { run, signal }: { run: RunJobs; signal: AbortSignal },
): Promise<void> {
  const prefix = basePrefix(record.cluster, record.id)
  for (const { name, sha256 } of known.objects ?? []) {
    const key = prefix + name
    if (name.startsWith(CONFIG_FOLDER) && !faults.has(key))
      await faults.guard(key, () => proveObject(storage, key, sha256, signal))
  }
  const jobs = new ContentJobs(record, known)
  const take = async (batch: AsyncIterable<Job> | Iterable<Job>): Promise<VerifyResult | undefined> => {
    let last: VerifyResult | undefined
    for await (const result of run(batch, signal)) {
      if (result.kind !== 'verified') continue
      faults.addAll(result.faults)
      last = result
    }
    return last
  }
  if (!known.files) {
    const keys = known.archives.filter((key) => !faults.has(key))
    await take(keys.map((key) => jobs.archive(key, undefined)))
    return
  }
  // pg_control first: it says how many blocks a file of a relation has, without which no page can be judged
  const { control } = known.files
  const controlKey = archiveKey(record.cluster, record.id, control.archive)
  const controlJob = faults.has(controlKey) ? [] : [jobs.archive(controlKey, [expectedFile(control)])]
  const segmentBlocks = (await take(controlJob))?.segmentBlocks
  async function* others(): AsyncGenerator<Job> {
    for await (const { archive, files } of groupByArchive(indexLines(storage, record, signal), expectedFile)) {
      const key = archiveKey(record.cluster, record.id, archive)
      if (archive !== control.archive && !faults.has(key)) yield jobs.archive(key, files, segmentBlocks)
    }
  }
  await take(others())
  // an archive of directories alone has no line in the index of files
  const listed = new Set(known.files.archives.map((archive) => archiveKey(record.cluster, record.id, archive)))
  const rest = known.archives.filter((key) => !listed.has(key) && !faults.has(key) && jobs.isNamed(key))
  await take(rest.map((key) => jobs.archive(key, [])))
}

class ContentJobs {
  readonly #record: BackupRecord
  readonly #hashes: Map<string, string>
  readonly #pageErrors: VerifyJob['knownPageErrors']

  constructor(record: BackupRecord, { objects, pageErrors }: ProvenMetadata) {
    this.#record = record
    const prefix = basePrefix(record.cluster, record.id)
    this.#hashes = new Map((objects ?? []).map(({ name, sha256 }) => [prefix + name, sha256]))
    this.#pageErrors = pageErrors.map(({ path, pages, ranges }) => ({ path, pages, ranges }))
  }

  isNamed(key: string): boolean {
    return this.#hashes.has(key)
  }

  archive(key: string, files: ExpectedFile[] | undefined, segmentBlocks?: number): VerifyJob {
    const { catalogVersion, blockSize, walSegmentSize, dataChecksums, checksumAlgorithm, start } = this.#record
    const systemIdentifier = String(parseClusterName(this.#record.cluster)?.systemIdentifier ?? '')
    const { checkpointLsn } = start
    const control = { systemIdentifier, catalogVersion, blockSize, walSegmentSize, dataChecksums, checkpointLsn }
    const isJudged = dataChecksums && segmentBlocks !== undefined
    return {
      ...{ kind: 'verify', key, sha256: this.#hashes.get(key), files, checksumAlgorithm, control },
      ...(isJudged && { pages: { blockSize, segmentBlocks, startLsn: start.lsn } }),
      knownPageErrors: this.#pageErrors,
    }
  }
}

async function* indexLines(storage: Storage, record: BackupRecord, signal: AbortSignal): AsyncGenerator<IndexLine> {
  const key = basePrefix(record.cluster, record.id) + FILES_INDEX
  for await (const { line } of readIndexLines(storage, key, record.files.sha256, signal))
    yield line as unknown as IndexLine
}

function expectedFile(line: FileLine): ExpectedFile {
  const { size, offset, checksum } = line
  return { path: pathOfLine(line).toString('latin1'), size, offset, checksum }
}
