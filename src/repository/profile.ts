/**
 * What this endpoint and bucket were found able to do: kept beside the repository, and decides how we write (O6).
 * Never the provider's name: only what a probe has seen. The newest profile counts.
 */
import type { StoreAbilities } from '../storage/storage-options.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument } from './document.js'
import { PROFILE_PREFIX, profileKey } from './layout.js'

/** The newest known abilities, or undefined where the store was never probed. */
export async function readProfile(storage: Storage, signal?: AbortSignal): Promise<StoreAbilities | undefined> {
  let newest: string | undefined
  for await (const { key } of storage.list(PROFILE_PREFIX, { signal })) if (key.endsWith('.json')) newest = key
  if (newest === undefined) return undefined
  const { abilities } = (await readDocument(storage, newest, signal)) as unknown as { abilities: StoreAbilities }
  return abilities
}

/** Keeps what a probe has found. */
export async function writeProfile(
  storage: Storage,
  abilities: StoreAbilities,
  now: Date,
  signal?: AbortSignal,
): Promise<void> {
  await createObject(
    storage,
    profileKey(now),
    formatDocument({ ...documentHead(), time: now.toISOString(), abilities }),
    signal,
  )
}
