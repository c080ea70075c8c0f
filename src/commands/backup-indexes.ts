/** What is written once all archives are: label, map, configuration files, PostgreSQL's manifest, and the two indexes. */
import { ManifestWriter } from '../postgres/manifest-writer.js'
import { createObject, type CreatedObject } from '../repository/create-object.js'
import { createFromTexts } from '../repository/create-text.js'
import { fileLine, formatMode, pathField, type IndexLine } from '../repository/files-index.js'
import { createJsonLines } from '../repository/json-lines.js'
import {
  BACKUP_LABEL,
  BACKUP_MANIFEST,
  basePrefix,
  FILES_INDEX,
  OBJECTS_INDEX,
  TABLESPACE_MAP,
} from '../repository/layout.js'
import type { ObjectLine, ObjectsIndexLine } from '../repository/objects-index.js'
import type { Storage } from '../storage/storage.js'
import { createFileChecksum, type ChecksumAlgorithm } from '../postgres/checksum.js'
import { forkOf } from './backup-copy.js'
import { storeConfiguration } from './backup-configuration.js'
import type { FinishedBackup } from './finished-backup.js'
import type { CommandContext } from './context.js'

/** The small objects that hold the rest of the backup together. */
export interface Indexes {
  files: CreatedObject & { count: number }
  objects: CreatedObject & { count: number }
  /** Bytes of all objects, both indexes included. */
  storedBytes: number
}

/** Writes all of them; the record alone is missing then. */
export async function writeIndexes(
  storage: Storage,
  backup: FinishedBackup,
  checksum: ChecksumAlgorithm,
  context: CommandContext,
): Promise<Indexes> {
  const prefix = basePrefix(backup.cluster, backup.id)
  const { signal } = context
  const small: (CreatedObject & Partial<Omit<ObjectLine, 'type' | 'size' | 'sha256'>>)[] = []
  small.push(await createObject(storage, prefix + BACKUP_LABEL, backup.stopped.labelFile, signal))
  if (backup.stopped.tablespaceMap) {
    small.push(await createObject(storage, prefix + TABLESPACE_MAP, backup.stopped.tablespaceMap, signal))
  }
  small.push(...(await storeConfiguration(storage, prefix, backup, context)))
  small.push(await createFromTexts(storage, prefix + BACKUP_MANIFEST, manifestTexts(backup, checksum), signal))
  const files = await createJsonLines(storage, prefix + FILES_INDEX, fileLines(backup), signal)
  const lines = [
    ...backup.copied.archives,
    ...[...small, files].map((object) => ({ ...object, name: object.key.slice(prefix.length) })),
  ]
  const objects = await createJsonLines(storage, prefix + OBJECTS_INDEX, objectLines(lines, backup), signal)
  const storedBytes = lines.reduce((sum, { size }) => sum + size, 0) + objects.size
  return { files, objects: { ...objects, count: lines.length }, storedBytes }
}

/** PostgreSQL's own manifest, in its format of that version (E13). */
function* manifestTexts(backup: FinishedBackup, checksumAlgorithm: ChecksumAlgorithm): Generator<string> {
  const { server } = backup.source
  const version = server.major >= 17 ? 2 : 1
  const writer = new ManifestWriter({ version, systemIdentifier: version === 2 ? server.systemIdentifier : undefined })
  yield writer.start()
  const small = (path: string, bytes: Buffer): string => {
    const checksum = createFileChecksum(checksumAlgorithm)
    checksum.update(bytes)
    const mtimeMs = backup.stopped.stopTime.getTime()
    return writer.file({
      path: Buffer.from(path),
      size: bytes.length,
      mtimeMs,
      checksum: { algorithm: checksumAlgorithm, hex: checksum.digest() },
    })
  }
  const { files } = backup.inventory
  for (const rows of backup.copied.order) {
    for (const row of rows) {
      const file = files.walked(row)
      const packed = files.packed(row)
      if (!packed) continue
      const { path, size, mtimeMs } = file
      yield writer.file({ path, size, mtimeMs, checksum: { algorithm: checksumAlgorithm, hex: packed.checksum } })
    }
  }
  yield small(BACKUP_LABEL, backup.stopped.labelFile)
  if (backup.stopped.tablespaceMap) yield small(TABLESPACE_MAP, backup.stopped.tablespaceMap)
  yield writer.finish([
    { timeline: backup.started.timeline, startLsn: backup.started.startLsn, endLsn: backup.stopped.stopLsn },
  ])
}

function* fileLines(backup: FinishedBackup): Generator<IndexLine | string> {
  const { files, directories, tablespaces } = backup.inventory
  const byPath = [...directories].sort((a, b) => a.path.compare(b.path))
  for (const tablespace of tablespaces) {
    const { path, mode, uid, gid, target } = tablespace
    const oid = Number(path.toString('latin1').split('/')[1])
    const location = target?.toString() ?? path.toString()
    const inPlace = target === undefined ? { inPlace: true as const } : {}
    yield { type: 'tablespace', ...pathField(path), oid, location, mode: formatMode(mode), uid, gid, ...inPlace }
  }
  for (const { path, mode, uid, gid } of byPath)
    yield { type: 'directory', ...pathField(path), mode: formatMode(mode), uid, gid }
  for (const [archive, rows] of backup.copied.order.entries()) {
    for (const row of rows) {
      const { path, size, mode, uid, gid, mtimeMs } = files.walked(row)
      const packed = files.packed(row)
      if (!packed) continue
      const { offset, checksum, padded } = packed
      const mtime = new Date(mtimeMs).toISOString()
      yield fileLine({ path, size, mode: formatMode(mode), uid, gid, mtime, archive, offset, checksum, padded })
    }
  }
}

function* objectLines(
  objects: readonly Omit<ObjectLine, 'type'>[],
  backup: FinishedBackup,
): Generator<ObjectsIndexLine> {
  for (const { name, size, sha256, members, path, mode, setting } of objects) {
    const line: ObjectLine = { type: 'object', name, size, sha256 }
    if (members !== undefined) line.members = members
    if (path !== undefined) line.path = path
    if (mode !== undefined) line.mode = mode
    if (setting !== undefined) line.setting = setting
    yield line
  }
  for (const { path, ...errors } of backup.copied.pageErrors) {
    yield { type: 'page-errors', path: textOf(path), fork: forkOf(path), ...errors }
  }
  for (const { path, reason } of backup.inventory.skipped) yield { type: 'skipped', path: path.toString(), reason }
  for (const path of backup.copied.vanished) yield { type: 'vanished', path: path.toString() }
  for (const { path, remark } of backup.copied.remarks) yield { type: 'remark', path: textOf(path), reason: remark }
}

function textOf(path: string): string {
  return Buffer.from(path, 'latin1').toString()
}
