/** Indexes of a backup: zstd-compressed JSON lines, written and read as streams, proven by the hash in the record. */
import { createHash } from 'node:crypto'
import { reasonOf, ToolError } from '../errors.js'
import { lettingGo } from '../streams/let-go.js'
import type { Storage } from '../storage/storage.js'
import { textChunks } from '../streams/text-chunks.js'
import { compressStream } from '../streams/zstd-stream.js'
import { decompress } from '../streams/zstd-decompress.js'
import type { CreatedObject } from './create-object.js'
import { createFromStream } from './create-stream.js'
import { checkHash, hashedObject } from './hashed-object.js'

const LEVEL = 3
const READ_BUFFER_BYTES = 1024 * 1024

/** Writes one line an element, which may be the text of a line already. */
export async function createJsonLines(
  storage: Storage,
  key: string,
  lines: Iterable<object | string>,
  signal?: AbortSignal,
): Promise<CreatedObject & { count: number }> {
  let count = 0
  function* texts(): Generator<string> {
    for (const line of lines) {
      count++
      yield `${typeof line === 'string' ? line : JSON.stringify(line)}\n`
    }
  }
  const chunks = compressStream(textChunks(texts()), { level: LEVEL })
  const object = await createFromStream(storage, key, chunks, signal)
  return { ...object, count }
}

/**
 * Reads the lines back. Throws ToolError `damaged`, at the latest after the last line, where the stored bytes are not
 * those that `sha256` names: nobody may act on the whole before the iteration has ended.
 */
export async function* readJsonLines(
  storage: Storage,
  key: string,
  sha256: string,
  signal?: AbortSignal,
): AsyncGenerator<Record<string, unknown>, void, undefined> {
  const hash = createHash('sha256')
  const stored = lettingGo(hashedObject(storage, key, hash, signal))
  let rest: Buffer = Buffer.alloc(0)
  for await (const bytes of decompress(stored, [new Uint8Array(READ_BUFFER_BYTES)], key)) {
    const text = Buffer.concat([rest, bytes])
    let start = 0
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
      yield parseLine(text.toString('utf8', start, end), key)
      start = end + 1
    }
    rest = text.subarray(start)
  }
  if (rest.length > 0) throw new ToolError('damaged', `"${key}" is damaged: it ends inside a line`)
  checkHash(key, sha256, hash)
}

function parseLine(line: string, key: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch (cause) {
    throw new ToolError('damaged', `"${key}" is damaged: ${reasonOf(cause)}`, { cause })
  }
}
