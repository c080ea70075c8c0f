/** Opens WAL objects: the head first, the contents as they are asked for. */
import type { Readable } from 'node:stream'
import { ToolError } from '../errors.js'
import { letGo } from '../streams/let-go.js'
import type { Storage } from '../storage/storage.js'
import { decompress } from '../streams/zstd-decompress.js'
import { HEAD_BYTES, parseWalObjectHead, type WalObjectHead } from './wal-object.js'

const BUFFER_BYTES = 1024 * 1024

/** An opened WAL object. */
export interface OpenWalObject {
  head: WalObjectHead
  body: { contents: () => AsyncGenerator<Uint8Array, void, undefined>; destroy: () => void }
}

/** Opens a WAL object and reads its head. Rejects with NotFoundError where there is none. */
export async function openWalObject(storage: Storage, key: string, signal?: AbortSignal): Promise<OpenWalObject> {
  const stream: Readable = await storage.get(key, { signal })
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let begun: Buffer = Buffer.alloc(0)
  let head: WalObjectHead | undefined
  try {
    while (!head) {
      const next = await chunks.next()
      if (next.done) throw new ToolError('damaged', `"${key}" is damaged: it ends before its contents`)
      begun = Buffer.concat([begun, next.value])
      head = parseWalObjectHead(begun, key)
    }
  } catch (error) {
    stream.destroy()
    throw error
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    yield begun
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
      yield next.value
      letGo(next.value)
    }
  }
  return {
    head,
    body: {
      contents: () => decompress(all(), [new Uint8Array(BUFFER_BYTES)], key),
      destroy: () => stream.destroy(),
    },
  }
}

/** Reads only the head of a WAL object. */
export async function readWalObjectHead(storage: Storage, key: string, signal?: AbortSignal): Promise<WalObjectHead> {
  const chunks: Buffer[] = []
  for await (const chunk of await storage.get(key, { length: HEAD_BYTES, signal })) chunks.push(chunk as Buffer)
  const head = parseWalObjectHead(Buffer.concat(chunks), key)
  if (!head) throw new ToolError('damaged', `"${key}" is damaged: it ends before its contents`)
  return head
}
