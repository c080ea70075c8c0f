/**
 * Reads PostgreSQL's backup_manifest and checks it against its own checksum.
 *
 * It takes the whole text into memory: made for verifying and for tests, not for the path of a large restore.
 */
import { createHash } from 'node:crypto'
import { reasonOf, ToolError } from '../errors.js'
import { parseLsn, type Lsn } from './lsn.js'

/** A file that the manifest names. */
export interface ManifestFile {
  path: Buffer
  /** Bytes. */
  size: number
  /** As `2026-03-01 02:00:00 GMT`. */
  lastModified: string
  /** Absent when the backup was taken without checksums. The name may be one that we never write, such as SHA512. */
  checksum?: { algorithm: string; hex: string }
}

/** A backup manifest. */
export interface Manifest {
  version: number
  /** From version 2 on. */
  systemIdentifier?: bigint
  files: ManifestFile[]
  /** Newest timeline first. */
  walRanges: { timeline: number; startLsn: Lsn; endLsn: Lsn }[]
}

/**
 * Reads a manifest.
 *
 * @throws ToolError `damaged` when its checksum does not match or it is no manifest
 */
export function parseManifest(text: string | Buffer): Manifest {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  checkChecksum(bytes)
  try {
    return modelOf(bytes.toString())
  } catch (error) {
    throw damaged(reasonOf(error), error)
  }
}

/** The checksum covers everything up to its own line, the last (verify_manifest_checksum() in parse_manifest.c). */
function checkChecksum(bytes: Buffer): void {
  const end = bytes.lastIndexOf('\n', bytes.length - 2) + 1
  const line = /^"Manifest-Checksum": "([0-9a-f]{64})"\}\n$/.exec(bytes.subarray(end).toString('latin1'))
  if (line === null || end === 0) throw damaged('it does not end with its checksum')
  if (createHash('sha256').update(bytes.subarray(0, end)).digest('hex') !== line[1]) {
    throw damaged('its checksum does not match its contents')
  }
}

function modelOf(text: string): Manifest {
  const json = objectOf(JSON.parse(text), 'the manifest')
  const manifest: Manifest = {
    version: numberOf(json, 'PostgreSQL-Backup-Manifest-Version'),
    files: listOf(json, 'Files').map(fileOf),
    walRanges: listOf(json, 'WAL-Ranges').map((range) => ({
      timeline: numberOf(range, 'Timeline'),
      startLsn: parseLsn(stringOf(range, 'Start-LSN')),
      endLsn: parseLsn(stringOf(range, 'End-LSN')),
    })),
  }
  // A number above 2^53, which JSON.parse() rounds. The line is the second, before any name of a file.
  const identifier = /^\{[^\n]*\n"System-Identifier": ([0-9]+),\n/.exec(text)?.[1]
  if (identifier !== undefined) manifest.systemIdentifier = BigInt(identifier)
  else if (manifest.version >= 2) throw new TypeError('"System-Identifier" is missing')
  return manifest
}

function fileOf(file: Json): ManifestFile {
  const path = file['Path'] === undefined ? hexOf(stringOf(file, 'Encoded-Path')) : Buffer.from(stringOf(file, 'Path'))
  const result: ManifestFile = {
    path,
    size: numberOf(file, 'Size'),
    lastModified: file['Last-Modified'] === undefined ? '' : stringOf(file, 'Last-Modified'),
  }
  if (file['Checksum'] !== undefined) {
    result.checksum = { algorithm: stringOf(file, 'Checksum-Algorithm'), hex: stringOf(file, 'Checksum') }
  }
  return result
}

type Json = Record<string, unknown>

function objectOf(value: unknown, what: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  throw new TypeError(`${what} is not an object`)
}

function listOf(json: Json, key: string): Json[] {
  const value = json[key]
  if (Array.isArray(value)) return value.map((member: unknown) => objectOf(member, `a member of "${key}"`))
  throw new TypeError(`"${key}" is not a list`)
}

function numberOf(json: Json, key: string): number {
  const value = json[key]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new TypeError(`"${key}" is not a number`)
}

function stringOf(json: Json, key: string): string {
  const value = json[key]
  if (typeof value === 'string') return value
  throw new TypeError(`"${key}" is not a text`)
}

function hexOf(text: string): Buffer {
  if (/^(?:[0-9a-fA-F]{2})+$/.test(text)) return Buffer.from(text, 'hex')
  throw new TypeError('"Encoded-Path" is not hexadecimal')
}

function damaged(reason: string, cause?: unknown): ToolError {
  return new ToolError('damaged', `could not read the backup manifest: ${reason}`, { cause })
}
