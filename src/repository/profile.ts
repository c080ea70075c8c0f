/**
 * What this endpoint and bucket were found able to do: kept beside the repository, and decides how we write (O6).
 * Never the provider's name: only what a probe has seen. The newest profile of this store counts.
 */
import { NotFoundError, ToolError } from '../errors.js'
import type { StorageOptions, StoreAbilities } from '../storage/storage-options.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument } from './document.js'
import { PROFILE_PREFIX, profileKey } from './layout.js'

/** Profiles that are read at most before the store is probed anew. */
const MOST_READ = 16

/**
 * Which store a profile is about: a repository that was copied elsewhere brings its profiles along. An endpoint that only
 * the SDK's own chain knows (AWS_ENDPOINT_URL, the profile) is not told from another such.
 */
export function storeOf({ url, endpoint }: StorageOptions): string {
  const [, scheme = '', bucket = ''] = /^([a-z0-9]+:\/\/)([^/]*)/.exec(url) ?? []
  if (scheme !== 's3://') return scheme
  return `${endpoint?.replace(/\/+$/, '') ?? 'default'} ${scheme}${bucket}`
}

/** The newest known abilities of this store, or undefined where it was never probed. */
export async function readProfile(
  storage: Storage,
  store: string,
  signal?: AbortSignal,
): Promise<StoreAbilities | undefined> {
  const keys: string[] = []
  for await (const { key } of storage.list(PROFILE_PREFIX, { signal })) if (key.endsWith('.json')) keys.push(key)
  for (const key of keys.reverse().slice(0, MOST_READ)) {
    try {
      const profile = (await readDocument(storage, key, signal)) as unknown as {
        abilities: StoreAbilities
        store?: string
      }
      if (profile.store === store) return profile.abilities
    } catch (error) {
      // an older one will do, or another probe
      if (error instanceof NotFoundError || (error instanceof ToolError && error.code === 'damaged')) continue
      throw error
    }
  }
  return undefined
}

/** Keeps what a probe has found. */
export async function writeProfile(
  storage: Storage,
  abilities: StoreAbilities,
  now: Date,
  { store, signal }: { store?: string; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const time = now.toISOString()
  await createObject(
    storage,
    profileKey(now),
    formatDocument({ ...documentHead(), time, ...(store !== undefined && { store }), abilities }),
    signal,
  )
}
