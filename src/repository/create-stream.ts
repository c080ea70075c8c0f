/** Create-only writes of objects that are made while they are sent (indexes): nothing is staged. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Storage } from '../storage/storage.js'
import type { CreatedObject } from './create-object.js'
import { createOnly } from './create-only.js'

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
  const body = Readable.from(counted(), { objectMode: false })
  return createOnly(storage, key, body, () => ({ size, sha256: hash.digest('hex') }), { signal })
}
