/**
 * What a restore will read and write, proven before it writes: the index against its hash in the record, every object
 * against its recorded size (R2).
 */
import type { ExtractFile } from '../archive/jobs.js'
import { checkRelativePath } from '../archive/safe-path.js'
import { ToolError } from '../errors.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listAll } from '../repository/create-object.js'
import {
  groupByArchive,
  parseMode,
  pathOfLine,
  type DirectoryLine,
  type FileLine,
  type IndexLine,
  type TablespaceLine,
} from '../repository/files-index.js'
import { readJsonLines } from '../repository/json-lines.js'
import { basePrefix, CONFIG_FOLDER, FILES_INDEX, OBJECTS_INDEX } from '../repository/layout.js'
import { readObjectsIndex, type ObjectLine } from '../repository/objects-index.js'
import type { Storage } from '../storage/storage.js'

/** The files of one archive, in the order of their offsets. */
export interface ArchiveFiles {
  archive: number
  files: ExtractFile[]
}

/** See the head of this file. */
export interface RestorePlan {
  files: number
  bytes: number
  /** Of these, what goes to each tablespace, by its OID. */
  tablespaceBytes: Map<number, number>
  archives: number
  directories: (DirectoryLine | TablespaceLine)[]
  /** Hash of each object by its name within the backup. */
  hashes: Map<string, string>
  /** Bytes of each object as stored, by the same names. */
  sizes: Map<string, number>
  /** Configuration files that lay outside the data directory. */
  configuration: ObjectLine[]
  /** `PG_<major>_<catalog version>` */
  versionDirectory: string
  /** Reads the index once more, an archive at a time, so that a million files need no memory. */
  readArchives: (storage: Storage, signal: AbortSignal) => AsyncGenerator<ArchiveFiles>
}

/** Reads and checks the indexes of a backup. Throws ToolError `damaged`. */
export async function readRestorePlan(
  storage: Storage,
  record: BackupRecord,
  signal: AbortSignal,
): Promise<RestorePlan> {
  const prefix = basePrefix(record.cluster, record.id)
  const filesKey = prefix + FILES_INDEX
  const { hashes, sizes, configuration } = await checkObjects(storage, record, prefix, signal)
  const directories: RestorePlan['directories'] = []
  let files = 0
  let lines = 0
  let bytes = 0
  const tablespaceBytes = new Map<number, number>()
  let controls = 0
  const archives = new Set<number>()
  for await (const line of readIndex(storage, filesKey, record, signal)) {
    lines++
    const path = pathOfLine(line).toString('latin1')
    checkRelativePath(path, filesKey)
    if (line.type !== 'file') {
      // the only links of a cluster (R4)
      if (line.type === 'tablespace' && path !== `pg_tblspc/${line.oid}`)
        throw new ToolError('damaged', `"${filesKey}" names the tablespace ${line.oid} at ${JSON.stringify(path)}`)
      directories.push(line)
      continue
    }
    files++
    bytes += line.size
    const oid = Number(/^pg_tblspc\/(\d+)\//.exec(path)?.[1])
    if (oid > 0) tablespaceBytes.set(oid, (tablespaceBytes.get(oid) ?? 0) + line.size)
    archives.add(line.archive)
    if (path === 'global/pg_control') controls++
  }
  if (lines !== record.files.count)
    throw new ToolError('damaged', `"${filesKey}" lists ${lines} files instead of ${record.files.count}`)
  if (controls !== 1) throw new ToolError('damaged', `"${filesKey}" lists global/pg_control ${controls} times`)
  return {
    files,
    bytes,
    tablespaceBytes,
    archives: archives.size,
    directories,
    hashes,
    sizes,
    configuration,
    versionDirectory: `PG_${Math.floor(record.postgresVersion / 10_000)}_${record.catalogVersion}`,
    readArchives: (from, abort) => groupByArchive(readIndex(from, filesKey, record, abort), extractFile),
  }
}

async function* readIndex(
  storage: Storage,
  key: string,
  record: BackupRecord,
  signal: AbortSignal,
): AsyncGenerator<IndexLine> {
  for await (const line of readJsonLines(storage, key, record.files.sha256, signal)) yield line as unknown as IndexLine
}

function extractFile(line: FileLine): ExtractFile {
  const { size, uid, gid, offset, checksum } = line
  return { path: pathOfLine(line).toString('latin1'), size, mode: parseMode(line.mode), uid, gid, offset, checksum }
}

/** Every object that the backup names is there with its size, and the index of objects is the recorded one. */
async function checkObjects(
  storage: Storage,
  record: BackupRecord,
  prefix: string,
  signal: AbortSignal,
): Promise<Pick<RestorePlan, 'hashes' | 'sizes' | 'configuration'>> {
  const hashes = new Map<string, string>()
  const sizes = new Map<string, number>()
  const configuration: ObjectLine[] = []
  const lines = await readObjectsIndex(storage, prefix + OBJECTS_INDEX, record.objects.sha256, signal)
  const stored = new Map(
    (await listAll(storage, prefix, signal)).map(({ key, size }) => [key.slice(prefix.length), size]),
  )
  for (const line of lines) {
    if (line.type !== 'object') continue
    hashes.set(line.name, line.sha256)
    sizes.set(line.name, line.size)
    if (line.name.startsWith(CONFIG_FOLDER)) configuration.push(line)
    const size = stored.get(line.name)
    if (size === undefined)
      throw new ToolError('damaged', `backup "${record.id}" is damaged: "${prefix}${line.name}" is missing`)
    if (size !== line.size) {
      throw new ToolError(
        'damaged',
        `backup "${record.id}" is damaged: "${prefix}${line.name}" has ${size} bytes instead of ${line.size}`,
      )
    }
  }
  return { hashes, sizes, configuration }
}
