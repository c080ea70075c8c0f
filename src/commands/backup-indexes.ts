/** What is written once all archives are: label, map, configuration files, PostgreSQL's manifest, and the two indexes. */
import { readFile, realpath } from 'node:fs/promises'
import { basename, relative } from 'node:path'
import { reasonOf } from '../errors.js'
import { ManifestWriter } from '../postgres/manifest-writer.js'
import { createObject, type CreatedObject } from '../repository/create-object.js'
import { createFromStream } from '../repository/create-stream.js'
import { formatMode, pathField, type IndexLine } from '../repository/files-index.js'
import { createJsonLines } from '../repository/json-lines.js'
import {
  BACKUP_LABEL,
  BACKUP_MANIFEST,
  basePrefix,
  CONFIG_FOLDER,
  FILES_INDEX,
  OBJECTS_INDEX,
  TABLESPACE_MAP,
} from '../repository/layout.js'
import type { ObjectLine, ObjectsIndexLine } from '../repository/objects-index.js'
import type { Storage } from '../storage/storage.js'
import { createFileChecksum, type ChecksumAlgorithm } from '../postgres/checksum.js'
import { forkOf } from './backup-copy.js'
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
  const small: CreatedObject[] = []
  small.push(await createObject(storage, prefix + BACKUP_LABEL, backup.stopped.labelFile, signal))
  if (backup.stopped.tablespaceMap) {
    small.push(await createObject(storage, prefix + TABLESPACE_MAP, backup.stopped.tablespaceMap, signal))
  }
  small.push(...(await storeConfigFiles(storage, prefix, backup, context)))
  small.push(await createFromStream(storage, prefix + BACKUP_MANIFEST, manifestChunks(backup, checksum), signal))
  const files = await createJsonLines(storage, prefix + FILES_INDEX, fileLines(backup), signal)
  const lines = [
    ...backup.copied.archives,
    ...[...small, files].map((object) => ({ ...object, name: object.key.slice(prefix.length) })),
  ]
  const objects = await createJsonLines(storage, prefix + OBJECTS_INDEX, objectLines(lines, backup), signal)
  const storedBytes = lines.reduce((sum, { size }) => sum + size, 0) + objects.size
  return { files, objects: { ...objects, count: lines.length }, storedBytes }
}

/** Configuration files that live outside PGDATA (W8). One that cannot be read is reported: it is no data. */
async function storeConfigFiles(
  storage: Storage,
  prefix: string,
  backup: FinishedBackup,
  context: CommandContext,
): Promise<CreatedObject[]> {
  const created: CreatedObject[] = []
  const names = new Set<string>()
  for (const path of backup.configFiles) {
    // a link in PGDATA that leads out of it is no file of the backup; a data directory reached by a link is still PGDATA
    const real = await realpath(path).catch(() => path)
    if (!relative(backup.source.dataDirectory, real).startsWith('..')) continue
    let name = basename(path)
    for (let n = 2; names.has(name); n++) name = `${n}-${basename(path)}`
    names.add(name)
    try {
      const body = await readFile(path)
      created.push(await createObject(storage, `${prefix}${CONFIG_FOLDER}${name}`, body, context.signal))
    } catch (error) {
      if (!(error instanceof Error && 'syscall' in error)) throw error
      context.report({ type: 'warning', message: `"${path}" is not part of the backup: ${reasonOf(error)}` })
    }
  }
  return created
}

/** PostgreSQL's own manifest, in its format of that version (E13). */
function* manifestChunks(backup: FinishedBackup, checksumAlgorithm: ChecksumAlgorithm): Generator<Buffer> {
  const { server } = backup.source
  const version = server.major >= 17 ? 2 : 1
  const writer = new ManifestWriter({ version, systemIdentifier: version === 2 ? server.systemIdentifier : undefined })
  let text = writer.start()
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
      text += writer.file({ path, size, mtimeMs, checksum: { algorithm: checksumAlgorithm, hex: packed.checksum } })
      if (text.length > 60_000) {
        yield Buffer.from(text)
        text = ''
      }
    }
  }
  text += small(BACKUP_LABEL, backup.stopped.labelFile)
  if (backup.stopped.tablespaceMap) text += small(TABLESPACE_MAP, backup.stopped.tablespaceMap)
  text += writer.finish([
    { timeline: backup.started.timeline, startLsn: backup.started.startLsn, endLsn: backup.stopped.stopLsn },
  ])
  yield Buffer.from(text)
}

function* fileLines(backup: FinishedBackup): Generator<IndexLine> {
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
  for (const rows of backup.copied.order) {
    for (const row of rows) {
      const { path, size, mode, uid, gid, mtimeMs } = files.walked(row)
      const packed = files.packed(row)
      if (!packed) continue
      const { archive, offset, checksum, padded } = packed
      const mtime = new Date(mtimeMs).toISOString()
      const rest = { size, mode: formatMode(mode), uid, gid, mtime, archive, offset, checksum }
      const line: IndexLine = Object.assign({ type: 'file' as const }, pathField(path), rest)
      if (padded) line.padded = true
      yield line
    }
  }
}

function* objectLines(
  objects: readonly Omit<ObjectLine, 'type'>[],
  backup: FinishedBackup,
): Generator<ObjectsIndexLine> {
  for (const { name, size, sha256, members } of objects) {
    yield { type: 'object', name, size, sha256, ...(members !== undefined && { members }) }
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
