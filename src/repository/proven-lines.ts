/** Lines of text objects, read to prove them: each with its number, and the hash of all of them at the end (V3, V7). */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { lettingGo } from '../streams/let-go.js'
import type { Storage } from '../storage/storage.js'
import { FrameReader } from '../streams/frame-reader.js'
import { PlacedDamage } from './fault-list.js'
import { hashedObject } from './hashed-object.js'

/** One of ours is a path and some numbers; a line without end must not fill memory. */
const LONGEST_LINE = 1024 * 1024

/** A line. */
export interface ProvenLine {
  /** From 1. */
  number: number
  text: string
}

/**
 * Lines of a compressed index, parsed. Throws {@link PlacedDamage}, or ToolError `damaged` after the last line where the
 * hash is another: nothing counts before the end.
 */
export async function* readIndexLines(
  storage: Storage,
  key: string,
  sha256: string,
  signal: AbortSignal,
): AsyncGenerator<{ number: number; line: Record<string, unknown> }, void, undefined> {
  const reader = new FrameReader()
  const body = await storage.get(key, { signal })
  try {
    for await (const { number, text } of linesOf(placed(reader, lettingGo(body))))
      yield { number, line: parseLine(number, text) }
  } finally {
    body.destroy()
  }
  if (reader.digest() !== sha256)
    throw new ToolError('damaged', 'its SHA-256 is not the recorded one, though all of it can be read')
}

/** Lines of a plain object, and its SHA-256 with `onEnd`. */
export async function* readTextLines(
  storage: Storage,
  key: string,
  onEnd: (sha256: string) => void,
  signal: AbortSignal,
): AsyncGenerator<ProvenLine, void, undefined> {
  const hash = createHash('sha256')
  yield* linesOf(hashedObject(storage, key, hash, signal))
  onEnd(hash.digest('hex'))
}

async function* placed(reader: FrameReader, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* reader.read(source)
  } catch (error) {
    if (error instanceof ToolError && error.code === 'damaged')
      throw new PlacedDamage(reader.place, error.message, error)
    throw error
  }
}

async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<ProvenLine> {
  let rest: Buffer = Buffer.alloc(0)
  let number = 0
  for await (const bytes of source) {
    const text = rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([rest, bytes])
    let start = 0
    for (let end = text.indexOf(10); end >= 0; end = text.indexOf(10, start)) {
      number++
      yield { number, text: text.toString('utf8', start, end) }
      start = end + 1
    }
    rest = text.subarray(start)
    if (rest.length > LONGEST_LINE) throw new PlacedDamage(`line ${number + 1}`, 'it has a line without end')
  }
  if (rest.length > 0) throw new PlacedDamage(`line ${number + 1}`, 'it ends inside a line')
}

function parseLine(number: number, text: string): Record<string, unknown> {
  try {
    const line = JSON.parse(text) as unknown
    if (typeof line === 'object' && line !== null) return line as Record<string, unknown>
  } catch {
    // falls through
  }
  throw new PlacedDamage(`line ${number}`, 'a line of it is no JSON object')
}
