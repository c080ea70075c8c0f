/**
 * Facts that change, in a repository where nothing is overwritten (format rule 1): each state is an object of its own,
 * `<folder>/<id>/<time>.json`, and the newest counts.
 */
import { NotFoundError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { readDocument, type DocumentHead } from './document.js'

/** Documents in flight at a time. */
const PARALLEL_READS = 16

/** Keys of the documents below `prefix`, by id, oldest first. What is not named like one of ours is left out. */
export async function documentKeys(
  storage: Storage,
  prefix: string,
  signal?: AbortSignal,
): Promise<Map<string, string[]>> {
  const keys = new Map<string, string[]>()
  for await (const { key } of storage.list(prefix, { signal })) {
    const id = /^([^/]+)\/[^/]+\.json$/.exec(key.slice(prefix.length))?.[1]
    if (id === undefined) continue
    const known = keys.get(id)
    if (known) known.push(key)
    else keys.set(id, [key])
  }
  return keys
}

/**
 * The newest document of each id below `prefix`. One that cannot be read is an error and not passed over: the older one
 * would say what is no longer true.
 */
export async function readNewest<T>(
  storage: Storage,
  prefix: string,
  signal?: AbortSignal,
): Promise<Map<string, T & DocumentHead>> {
  const newest = [...(await documentKeys(storage, prefix, signal))].map(([id, keys]) => ({
    id,
    key: keys.at(-1) ?? '',
  }))
  const documents = new Map<string, T & DocumentHead>()
  for (let at = 0; at < newest.length; at += PARALLEL_READS) {
    const batch = newest.slice(at, at + PARALLEL_READS).map(async ({ id, key }) => {
      try {
        return { id, document: (await readDocument(storage, key, signal)) as unknown as T & DocumentHead }
      } catch (error) {
        // deleted since it was listed: then nothing is said of this id
        if (error instanceof NotFoundError) return undefined
        throw error
      }
    })
    for (const read of await Promise.all(batch)) if (read) documents.set(read.id, read.document)
  }
  return documents
}
