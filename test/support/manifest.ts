/** PostgreSQL's backup_manifest, read by its documentation and not by our code. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'

/** What a manifest says. Paths are latin1 text, one character a byte. */
export interface Manifest {
  version: number
  systemIdentifier: bigint | undefined
  files: { path: string; size: number; checksum: string }[]
  walRanges: { timeline: number; start: string; end: string }[]
}

/** Parses a manifest; fails where its own checksum is not that of its bytes. */
export function readManifest(bytes: Buffer): Manifest {
  const text = bytes.toString('utf8')
  const end = text.lastIndexOf('"Manifest-Checksum"')
  // Up to and including the line break before its own line.
  const hashed = createHash('sha256').update(text.slice(0, end)).digest('hex')
  const document = JSON.parse(text) as {
    'PostgreSQL-Backup-Manifest-Version': number
    Files: { Path?: string; 'Encoded-Path'?: string; Size: number; Checksum: string }[]
    'WAL-Ranges': { Timeline: number; 'Start-LSN': string; 'End-LSN': string }[]
    'Manifest-Checksum': string
  }
  assert.equal(document['Manifest-Checksum'], hashed)
  const identifier = /"System-Identifier": (\d+)/.exec(text)?.[1] // too large for JSON.parse
  return {
    version: document['PostgreSQL-Backup-Manifest-Version'],
    systemIdentifier: identifier === undefined ? undefined : BigInt(identifier),
    files: document.Files.map((file) => {
      const name =
        file['Encoded-Path'] === undefined ? Buffer.from(file.Path!) : Buffer.from(file['Encoded-Path'], 'hex')
      return { path: name.toString('latin1'), size: file.Size, checksum: file.Checksum }
    }),
    walRanges: document['WAL-Ranges'].map((range) => ({
      timeline: range.Timeline,
      start: range['Start-LSN'],
      end: range['End-LSN'],
    })),
  }
}
