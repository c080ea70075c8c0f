/**
 * Finds out what a storage can do, by doing it once on objects made for that: never by the provider's name (O6).
 *
 * Ran by `check` and when a repository is created. A store that ignores `If-None-Match: *` does so without a word, so
 * each conditional write is tried against a key that is known to be taken.
 */
import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { ExistsError, reasonOf, ToolError } from '../errors.js'
import type { StoreAbilities } from './storage-options.js'
import type { PartSource, Storage } from './storage.js'

/** What is tried, in this order. */
export type ProbeName =
  | 'write'
  | 'checksum-headers'
  | 'create-only-put'
  | 'create-only-multipart'
  | 'read'
  | 'ranged-read'
  | 'list'
  | 'delete'

/** How one probe went. `no`: it works, but not as asked (a condition ignored); `failed`: the storage refused. */
export interface Probe {
  name: ProbeName
  result: 'yes' | 'no' | 'failed' | 'skipped'
  /** Why it is not `yes`. */
  detail?: string
  /** What to do, where the storage said more than that it refused. */
  hint?: string
  durationMs: number
}

export interface StorageInspection {
  probes: Probe[]
  abilities: StoreAbilities
  /** Probe objects that could not be deleted: no harm, and expected where a lock or a policy forbids it. */
  leftKeys: string[]
}

/** Another view of the same storage, that takes these abilities for granted. */
export interface ProbedVariant {
  abilities: StoreAbilities
  alwaysMultipart?: boolean
}

/** Implemented by storages whose abilities differ from store to store; others can do everything. */
export interface ProbedStorage {
  variant(options: ProbedVariant): Storage
}

/** Options of {@link inspectStorage}. */
export interface InspectOptions {
  /** Where the probe objects go, ending in `/`. Default `probe/`. */
  prefix?: string | undefined
  signal?: AbortSignal | undefined
}

const NO_ABILITIES: StoreAbilities = { createOnlyPut: false, createOnlyMultipart: false, checksumHeaders: false }
const CONTENT = Buffer.from('written by pgsluice to see what this storage can do; may be deleted\n')

/** Tries everything once. Rejects only when aborted: what a storage cannot do is the result. */
export async function inspectStorage(storage: Storage, options: InspectOptions = {}): Promise<StorageInspection> {
  return new Inspection(storage, options).run()
}

class Inspection {
  readonly #storage: Storage
  readonly #signal: AbortSignal | undefined
  readonly #key: string
  readonly #probes: Probe[] = []
  readonly #written: string[] = []
  readonly #abilities = { ...NO_ABILITIES }

  constructor(storage: Storage, { prefix = 'probe/', signal }: InspectOptions) {
    this.#storage = storage
    this.#signal = signal
    this.#key = `${prefix}${randomBytes(8).toString('hex')}`
  }

  async run(): Promise<StorageInspection> {
    const plain = `${this.#key}-plain`
    // with every ability off first: a store that lacks one must still be seen to work without it
    const isWritable = await this.#probe('write', () => this.#put(plain, NO_ABILITIES))
    this.#abilities.checksumHeaders = await this.#probeIf(isWritable, 'checksum-headers', () => this.#checksums())
    this.#abilities.createOnlyPut = await this.#probeIf(isWritable, 'create-only-put', () => this.#createOnly(false))
    this.#abilities.createOnlyMultipart = await this.#probeIf(isWritable, 'create-only-multipart', () =>
      this.#createOnly(true),
    )
    await this.#probeIf(isWritable, 'read', () => this.#read(plain, 0, undefined))
    await this.#probeIf(isWritable, 'ranged-read', () => this.#read(plain, 11, 8))
    await this.#probe('list', () => this.#list(isWritable ? plain : undefined))
    const isDeleted = await this.#probeIf(isWritable, 'delete', () => this.#delete())
    return { probes: this.#probes, abilities: this.#abilities, leftKeys: isDeleted ? [] : this.#written }
  }

  /** Runs one probe: resolves to why not, or to nothing; throws where the storage refused. */
  async #probe(name: ProbeName, action: () => Promise<string | undefined>): Promise<boolean> {
    this.#signal?.throwIfAborted()
    const start = performance.now()
    const note = (result: Probe['result'], detail?: string, hint?: string): boolean => {
      const durationMs = Math.round(performance.now() - start)
      this.#probes.push({
        name,
        result,
        durationMs,
        ...(detail === undefined ? {} : { detail }),
        ...(hint && { hint }),
      })
      return result === 'yes'
    }
    try {
      const why = await action()
      return why === undefined ? note('yes') : note('no', why)
    } catch (error) {
      this.#signal?.throwIfAborted()
      return note('failed', reasonOf(error), error instanceof ToolError ? error.hint : undefined)
    }
  }

  async #probeIf(condition: boolean, name: ProbeName, action: () => Promise<string | undefined>): Promise<boolean> {
    if (condition) return this.#probe(name, action)
    this.#probes.push({ name, result: 'skipped', detail: 'nothing could be written', durationMs: 0 })
    return false
  }

  #variant(abilities: StoreAbilities, alwaysMultipart = false): Storage {
    return isProbed(this.#storage) ? this.#storage.variant({ abilities, alwaysMultipart }) : this.#storage
  }

  async #put(key: string, abilities: StoreAbilities): Promise<undefined> {
    this.#written.push(key)
    await this.#variant(abilities).put(key, CONTENT, { signal: this.#signal })
  }

  /** Both ways that bodies travel: stores were seen that take the header on one of them only. */
  async #checksums(): Promise<undefined> {
    const abilities = { ...NO_ABILITIES, checksumHeaders: true }
    await this.#put(`${this.#key}-checksum`, abilities)
    const key = `${this.#key}-checksum-parts`
    this.#written.push(key)
    await this.#variant(abilities, true).put(key, sourceOf(CONTENT), { maxSize: CONTENT.length, signal: this.#signal })
  }

  async #createOnly(isMultipart: boolean): Promise<string | undefined> {
    const abilities = { ...this.#abilities, createOnlyPut: true, createOnlyMultipart: true }
    const key = `${this.#key}-once${isMultipart ? '-parts' : ''}`
    const put = async (): Promise<void> => {
      const body = isMultipart ? sourceOf(CONTENT) : CONTENT
      const options = { ifAbsent: true, maxSize: CONTENT.length, signal: this.#signal }
      await this.#variant(abilities, isMultipart).put(key, body, options)
    }
    this.#written.push(key)
    await put()
    try {
      await put()
    } catch (error) {
      if (error instanceof ExistsError) return undefined
      throw error
    }
    return 'a second write of the same name was accepted'
  }

  async #read(key: string, offset: number, length: number | undefined): Promise<string | undefined> {
    const range = length === undefined ? {} : { length }
    const stream: Readable = await this.#storage.get(key, { offset, ...range, signal: this.#signal })
    const found = Buffer.concat((await stream.toArray()) as Uint8Array[])
    const wanted = CONTENT.subarray(offset, length === undefined ? undefined : offset + length)
    return found.equals(wanted) ? undefined : 'other bytes came back than were written'
  }

  async #list(expected: string | undefined): Promise<string | undefined> {
    const keys: string[] = []
    for await (const { key } of this.#storage.list(this.#key, { signal: this.#signal })) keys.push(key)
    return expected === undefined || keys.includes(expected)
      ? undefined
      : 'an object that was just written is not listed'
  }

  async #delete(): Promise<undefined> {
    await this.#variant(this.#abilities).delete(this.#written, { signal: this.#signal })
  }
}

function isProbed(storage: object): storage is Storage & ProbedStorage {
  return 'variant' in storage
}

function sourceOf(bytes: Uint8Array): PartSource {
  let position = 0
  return {
    fill(buffer) {
      const piece = bytes.subarray(position, position + buffer.length)
      buffer.set(piece)
      position += piece.byteLength
      return Promise.resolve(piece.byteLength)
    },
  }
}
