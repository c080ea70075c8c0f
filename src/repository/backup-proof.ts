/**
 * The metadata of one backup (V1): its record, the objects that it names, both indexes, label, map and manifest, each proven
 * by what names it, and all of them against each other. Whatever is wrong is collected, with its place.
 */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { parseBackupLabel } from '../postgres/backup-label.js'
import { createFileChecksum } from '../postgres/checksum.js'
import { parseLsn } from '../postgres/lsn.js'
import { parseTablespaceMap } from '../postgres/tablespace-map.js'
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { readSmall } from './document.js'
import { FaultList, PlacedDamage } from './fault-list.js'
import { FilesProof, type FilesFacts } from './files-proof.js'
import {
  archiveKey,
  BACKUP_LABEL,
  BACKUP_MANIFEST,
  backupRecordKey,
  basePrefix,
  FILES_INDEX,
  OBJECTS_INDEX,
  parseClusterName,
  TABLESPACE_MAP,
} from './layout.js'
import { ManifestProof, type ManifestFact } from './manifest-proof.js'
import type { ObjectLine, ObjectsIndexLine, PageErrorsLine } from './objects-index.js'
import { readIndexLines } from './proven-lines.js'

/** What the metadata of a backup is found to be; what is undefined is damaged, and a fault says so. */
export interface ProvenMetadata {
  objects: ObjectLine[] | undefined
  pageErrors: PageErrorsLine[]
  files: FilesFacts | undefined
  /** Keys of archives that are there, whether or not an index is. */
  archives: string[]
  /** Objects below the backup's prefix that nothing names (V5). */
  unreferenced: string[]
}

/** Proves the metadata. Rejects only where it could not look. */
export async function proveMetadata(
  storage: Storage,
  record: BackupRecord,
  faults: FaultList,
  signal: AbortSignal,
): Promise<ProvenMetadata> {
  const prefix = basePrefix(record.cluster, record.id)
  const stored = new Map<string, number>()
  for await (const { key, size } of storage.list(prefix, { signal })) stored.set(key.slice(prefix.length), size)
  proveRecord(record, faults)
  const index = await faults.guard(prefix + OBJECTS_INDEX, () => readObjects(storage, record, stored, signal))
  const objects = index?.objects
  const named = new Set([OBJECTS_INDEX, ...(objects ?? []).map(({ name }) => name)])
  for (const { name, size } of objects ?? []) {
    const found = stored.get(name)
    if (found === undefined) faults.add(prefix + name, 'it is missing')
    else if (found !== size)
      faults.add(prefix + name, `it has ${found} bytes instead of ${size}`, `byte ${Math.min(found, size)}`)
  }
  const small = await proveSmall(storage, record, objects, faults, signal)
  const files = await proveFiles(storage, record, { objects, small, stored }, faults, signal)
  return {
    objects,
    pageErrors: index?.pageErrors ?? [],
    files,
    archives: [...stored.keys()].filter((name) => /^\d{5}\.tar\.zst$/.test(name)).map((name) => prefix + name),
    unreferenced: objects ? [...stored.keys()].filter((name) => !named.has(name)).map((name) => prefix + name) : [],
  }
}

function proveRecord(record: BackupRecord, faults: FaultList): void {
  const key = backupRecordKey(record.cluster, record.id)
  const major = Math.floor(record.postgresVersion / 10_000)
  if (parseClusterName(record.cluster)?.major !== major) faults.add(key, `it is of PostgreSQL ${major}`)
  if (parseLsn(record.stop.lsn) < parseLsn(record.start.lsn)) faults.add(key, 'its backup ends before it begins')
}

async function readObjects(
  storage: Storage,
  record: BackupRecord,
  stored: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<{ objects: ObjectLine[]; pageErrors: PageErrorsLine[] }> {
  const key = basePrefix(record.cluster, record.id) + OBJECTS_INDEX
  const objects: ObjectLine[] = []
  const pageErrors: PageErrorsLine[] = []
  const names = new Set<string>()
  for await (const { number, line } of readIndexLines(storage, key, record.objects.sha256, signal)) {
    const one = line as unknown as ObjectsIndexLine
    if (one.type === 'page-errors') pageErrors.push(one)
    if (one.type !== 'object') continue
    if (names.has(one.name)) throw new PlacedDamage(`line ${number}`, `it names "${one.name}" twice`)
    names.add(one.name)
    objects.push(one)
  }
  const { count, bytes } = record.objects
  if (objects.length !== count)
    throw new ToolError('damaged', `it names ${objects.length} objects, the record ${count}`)
  const sum = objects.reduce((total, { size }) => total + size, 0) + (stored.get(OBJECTS_INDEX) ?? 0)
  if (sum !== bytes) throw new ToolError('damaged', `its objects have ${sum} bytes, the record says ${bytes}`)
  const needed = [BACKUP_LABEL, BACKUP_MANIFEST, FILES_INDEX, ...(hasMap(record) ? [TABLESPACE_MAP] : [])]
  const missing = needed.find((name) => !names.has(name))
  if (missing !== undefined) throw new ToolError('damaged', `it does not name "${missing}"`)
  return { objects, pageErrors }
}

/** The server gives a map for tablespaces that are links; one that lives in place has none (T5). */
function hasMap({ tablespaces }: BackupRecord): boolean {
  return tablespaces.some(({ inPlace }) => !inPlace)
}

/** Label and map: what the manifest must say of them, where they are right. */
async function proveSmall(
  storage: Storage,
  record: BackupRecord,
  objects: readonly ObjectLine[] | undefined,
  faults: FaultList,
  signal: AbortSignal,
): Promise<(ManifestFact | undefined)[]> {
  const prefix = basePrefix(record.cluster, record.id)
  const names = [BACKUP_LABEL, ...(hasMap(record) ? [TABLESPACE_MAP] : [])]
  const facts: (ManifestFact | undefined)[] = []
  for (const name of names) {
    const key = prefix + name
    if (faults.has(key)) {
      facts.push(undefined)
      continue
    }
    const fact = await faults.guard(key, async () => {
      const bytes = await readSmall(storage, key, signal)
      if (name === BACKUP_LABEL) proveLabel(bytes, record)
      else proveMap(bytes, record)
      const sha256 = objects?.find((object) => object.name === name)?.sha256
      if (sha256 !== undefined && createHash('sha256').update(bytes).digest('hex') !== sha256)
        throw new ToolError('damaged', 'its SHA-256 is not the recorded one')
      const checksum = createFileChecksum(record.checksumAlgorithm)
      checksum.update(bytes)
      return { path: Buffer.from(name), size: bytes.length, checksum: checksum.digest() }
    })
    facts.push(fact)
  }
  return facts
}

function proveLabel(bytes: Buffer, record: BackupRecord): void {
  const label = parseBackupLabel(bytes)
  const { start } = record
  const wrong =
    label.startLsn !== parseLsn(start.lsn) || label.startSegment !== start.segment
      ? 'START WAL LOCATION'
      : label.checkpointLsn !== parseLsn(start.checkpointLsn)
        ? 'CHECKPOINT LOCATION'
        : label.startTimeline !== start.timeline
          ? 'START TIMELINE'
          : label.label !== record.label
            ? 'LABEL'
            : undefined
  if (wrong !== undefined) throw new PlacedDamage(`line "${wrong}"`, 'it does not say what the record says')
}

function proveMap(bytes: Buffer, record: BackupRecord): void {
  const entries = parseTablespaceMap(bytes, Math.floor(record.postgresVersion / 10_000))
  const links = record.tablespaces.filter(({ inPlace }) => !inPlace)
  for (const [index, { oid, location }] of entries.entries()) {
    if (links.some((link) => link.oid === oid && link.location === location.toString())) continue
    throw new PlacedDamage(`line ${index + 1}`, `the record has no tablespace ${oid} at "${location.toString()}"`)
  }
  if (entries.length !== links.length)
    throw new ToolError('damaged', `it names ${entries.length} tablespaces instead of ${links.length}`)
}

/** The index of files, and the manifest beside it. */
async function proveFiles(
  storage: Storage,
  record: BackupRecord,
  known: {
    objects: ObjectLine[] | undefined
    small: (ManifestFact | undefined)[]
    stored: ReadonlyMap<string, number>
  },
  faults: FaultList,
  signal: AbortSignal,
): Promise<FilesFacts | undefined> {
  const prefix = basePrefix(record.cluster, record.id)
  const [filesKey, manifestKey] = [prefix + FILES_INDEX, prefix + BACKUP_MANIFEST]
  const { objects } = known
  const sha256 = objects?.find(({ name }) => name === BACKUP_MANIFEST)?.sha256
  const systemIdentifier = String(parseClusterName(record.cluster)?.systemIdentifier ?? '')
  const manifest = new ManifestProof(storage, manifestKey, { record, systemIdentifier, sha256 }, signal)
  // what looks like a fault of the manifest may be one of the index, which is proven only at its end
  const found = new FaultList()
  let isWhole = !faults.has(manifestKey)
  const prove = async (work: () => Promise<void>): Promise<void> => {
    if (isWhole) isWhole = (await found.guard(manifestKey, () => work().then(() => true))) === true
  }
  try {
    await prove(() => manifest.begin())
    const files = new FilesProof(record, objects)
    const facts = faults.has(filesKey)
      ? undefined
      : await faults.guard(filesKey, async () => {
          for await (const { number, line } of readIndexLines(storage, filesKey, record.files.sha256, signal)) {
            const fact = files.take(number, line)
            if (fact) await prove(() => manifest.file(fact))
          }
          return files.end()
        })
    if (!facts) {
      // its own checksum and hash can still be proven by themselves
      await faults.guard(manifestKey, () => proveObject(storage, manifestKey, sha256, signal))
      return undefined
    }
    for (const fact of known.small) {
      // a label that is damaged has its own fault; what the manifest says of it cannot be compared
      if (fact) await prove(() => manifest.file(fact))
      else await prove(() => manifest.skip())
    }
    await prove(() => manifest.end())
    faults.addAll(found.faults)
    for (const archive of facts.archives) {
      const key = archiveKey(record.cluster, record.id, archive)
      if (!objects && !known.stored.has(key.slice(prefix.length))) faults.add(key, 'it is missing')
    }
    return facts
  } finally {
    await manifest.close()
  }
}

/** Reads an object back and compares its hash, where that is known. Rejects with ToolError `damaged`. */
export async function proveObject(
  storage: Storage,
  key: string,
  sha256: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const hash = createHash('sha256')
  for await (const chunk of await storage.get(key, { signal })) hash.update(chunk as Buffer)
  if (sha256 !== undefined && hash.digest('hex') !== sha256)
    throw new ToolError('damaged', 'its SHA-256 is not the recorded one')
}
