/** Indexes of a backup taken apart and put together again, for tests that forge them. */
import { createHash } from 'node:crypto'
import { compressStream } from '#src/streams/zstd-stream.js'
import { decompress } from '#src/streams/zstd-decompress.js'

export type Line = Record<string, unknown>

/** The lines of an index, from its bytes as stored. */
export async function linesOf(bytes: Buffer): Promise<Line[]> {
  const pieces: Buffer[] = []
  for await (const piece of decompress(chunksOf(bytes), [new Uint8Array(1 << 20)], 'index'))
    pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

/** An index of these lines, as it is stored. */
export async function bytesOf(lines: readonly Line[]): Promise<Buffer> {
  const text = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const pieces: Buffer[] = []
  for await (const piece of compressStream([text], { level: 3 })) pieces.push(piece)
  return Buffer.concat(pieces)
}

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  await Promise.resolve()
  yield bytes
}

/** Hex. */
export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
