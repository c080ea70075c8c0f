/**
 * backup_manifest beside the index of files: both name the files in the same order, so they are compared line by line, and
 * a million files need no memory. Its own checksum and its hash in the index of objects are proven on the way (V8).
 */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import type { Storage } from '../storage/storage.js'
import type { BackupRecord } from './backup-record.js'
import { PlacedDamage } from './fault-list.js'
import { readTextLines } from './proven-lines.js'

/** A file as the manifest must name it. */
export interface ManifestFact {
  path: Buffer
  size: number
  checksum: string
}

/** What else the manifest must say. */
export interface ManifestFacts {
  systemIdentifier: string
  record: BackupRecord
  /** Of the object, where it is known. */
  sha256: string | undefined
}

/** Proves one manifest, a file at a time. Everything rejects with ToolError `damaged` for what is wrong with the manifest. */
export class ManifestProof {
  readonly #lines
  readonly #hash = createHash('sha256')
  readonly #facts: ManifestFacts
  #sha256: string | undefined
  #line = 0

  constructor(storage: Storage, key: string, facts: ManifestFacts, signal: AbortSignal) {
    this.#facts = facts
    this.#lines = readTextLines(storage, key, (sha256) => (this.#sha256 = sha256), signal)
  }

  /** Proves what comes before the files. */
  async begin(): Promise<void> {
    const version = Math.floor(this.#facts.record.postgresVersion / 10_000) >= 17 ? 2 : 1
    await this.#expect(`{ "PostgreSQL-Backup-Manifest-Version": ${version},`)
    if (version === 2) await this.#expect(`"System-Identifier": ${this.#facts.systemIdentifier},`)
    await this.#expect('"Files": [')
  }

  /** Proves that this file is next. */
  async file({ path, size, checksum }: ManifestFact): Promise<void> {
    const text = await this.#next()
    let file: Record<string, unknown>
    try {
      file = JSON.parse(text.replace(/,$/, '')) as typeof file
    } catch (cause) {
      throw this.#wrong('it is no JSON object', cause)
    }
    const found =
      typeof file['Path'] === 'string' ? Buffer.from(file['Path']) : Buffer.from(String(file['Encoded-Path']), 'hex')
    const name = JSON.stringify(path.toString())
    if (!found.equals(path))
      throw this.#wrong(`it names ${JSON.stringify(found.toString())} where the backup has ${name}`)
    if (file['Size'] !== size) throw this.#wrong(`it gives ${name} ${String(file['Size'])} bytes instead of ${size}`)
    const { checksumAlgorithm } = this.#facts.record
    if (file['Checksum'] !== checksum || file['Checksum-Algorithm'] !== checksumAlgorithm)
      throw this.#wrong(`it gives ${name} another checksum than the index of files`)
  }

  /** Passes over a file that cannot be compared. */
  async skip(): Promise<void> {
    await this.#next()
  }

  /** Proves what comes behind the files, the checksum of it all, and that nothing follows. */
  async end(): Promise<void> {
    const { start, stop } = this.#facts.record
    await this.#expect('],')
    await this.#expect('"WAL-Ranges": [')
    const [from, to] = [start, stop].map(({ lsn }) => formatLsn(parseLsn(lsn)))
    await this.#expect(`{ "Timeline": ${start.timeline}, "Start-LSN": "${from}", "End-LSN": "${to}" }`)
    await this.#expect('],')
    const { value } = (await this.#lines.next()) as { value: { text: string } | undefined }
    this.#line++
    if (value?.text !== `"Manifest-Checksum": "${this.#hash.digest('hex')}"}`)
      throw this.#wrong('its checksum does not match its contents')
    if (!(await this.#lines.next()).done) throw this.#wrong('something follows its checksum')
    if (this.#facts.sha256 !== undefined && this.#sha256 !== this.#facts.sha256)
      throw new ToolError('damaged', 'its SHA-256 is not the recorded one')
  }

  async close(): Promise<void> {
    await this.#lines.return()
  }

  async #next(): Promise<string> {
    const next = await this.#lines.next()
    if (next.done) throw new PlacedDamage(`line ${this.#line + 1}`, 'it ends too early')
    this.#line = next.value.number
    this.#hash.update(`${next.value.text}\n`)
    return next.value.text
  }

  async #expect(text: string): Promise<void> {
    const found = await this.#next()
    if (found !== text)
      throw this.#wrong(`it says ${JSON.stringify(found.slice(0, 100))} instead of ${JSON.stringify(text)}`)
  }

  #wrong(problem: string, cause?: unknown): PlacedDamage {
    return new PlacedDamage(`line ${this.#line}`, problem, cause)
  }
}
