/** Create-only writes of objects that are made while they are sent (manifest, indexes): nothing is staged. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { ExistsError, ToolError } from '../errors.js'
import { hasContent } from '../storage/has-content.js'
import type { Storage } from '../storage/storage.js'
import type { CreatedObject } from './create-object.js'

/** Creates `key` from chunks of at most 128 KiB. Rejects with ToolError `conflict` where something else is stored there. */
export async function createFromStream(
  storage: Storage,
  key: string,
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  signal?: AbortSignal,
): Promise<CreatedObject> {
  const hash = createHash('sha256')
  let size = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      hash.update(chunk)
      size += chunk.length
      yield chunk
    }
  }
  const echo = await storage.put(key, Readable.from(counted(), { objectMode: false }), { ifAbsent: true, signal }).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof ExistsError) return error
      throw error
    },
  )
  const object = { key, size, sha256: hash.digest('hex') }
  if (echo && !(await hasContent(storage, object, signal))) {
    throw new ToolError('conflict', `"${key}" exists already with other content`, { cause: echo })
  }
  return object
}
