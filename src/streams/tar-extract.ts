/**
 * Reads a tar with tar-stream: the independent reader of what the fast path wrote (V3). Buffers must not be used again by
 * whoever feeds it: tar-stream keeps them while a consumer is slow.
 */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import tar from 'tar-stream'
import { reasonOf, ToolError } from '../errors.js'
import { settle } from './settle.js'

/** What a header says, as tar-stream reads it: a name that is no UTF-8 has lost its bytes. */
export interface TarHeader {
  name: string
  type: string
  size: number
}

/** Calls `onMember` for each member in turn; it reads the body, or leaves it. Throws ToolError `damaged` for what is no tar. */
export async function readTar(
  source: AsyncIterable<Uint8Array>,
  onMember: (header: TarHeader, body: AsyncIterable<Buffer>) => Promise<void>,
): Promise<void> {
  let failure: { error: unknown } | undefined
  const noted = (error: unknown): never => {
    failure ??= { error }
    throw error
  }
  async function* checked(): AsyncGenerator<Uint8Array> {
    try {
      yield* source
    } catch (error) {
      noted(error)
    }
  }
  const extract = tar.extract()
  const consume = async (): Promise<void> => {
    for await (const entry of extract) {
      const { name, type, size } = entry.header
      await onMember({ name, type, size }, entry as AsyncIterable<Buffer>).catch(noted)
      // one that is not read to its end would stop the extractor for good
      entry.resume()
    }
  }
  try {
    await settle([pipeline(Readable.from(checked(), { objectMode: true, highWaterMark: 2 }), extract), consume()])
  } catch (error) {
    if (failure) throw failure.error
    throw new ToolError('damaged', `it is no tar: ${reasonOf(error)}`, { cause: error })
  }
}
