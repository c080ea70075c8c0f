/** Compares the table at the end of an archive with the frames that were read: who reads a part of it goes by the table. */
import type { FrameReader } from '../streams/frame-reader.js'

const SEEKABLE_MAGIC = 0x8f92eab1
const SKIPPABLE_HEADER = 8
const ENTRY = 8
const FOOTER = 9

/** What is wrong with the table, by zstd's description of its seekable format. */
export function seekTableProblem({
  sizes,
  skippable,
}: Pick<FrameReader, 'sizes' | 'skippable'>): { place: string; problem: string } | undefined {
  const end = sizes.reduce((sum, { compressedSize }) => sum + compressedSize, 0)
  const table = skippable[0]
  const at = (offset: number): string => `table of frames, byte ${end + offset}`
  if (!table) return { place: at(0), problem: 'the table of its frames is missing' }
  const { bytes, offset } = table
  if (skippable.length > 1 || offset !== end)
    return { place: at(0), problem: 'something stands beside its frames and the table of them' }
  const footer = SKIPPABLE_HEADER + sizes.length * ENTRY
  if (bytes.length !== footer + FOOTER) return { place: at(4), problem: 'the table of its frames has a wrong size' }
  if (bytes.readUInt32LE(0) !== 0x184d2a5e)
    return { place: at(0), problem: 'the table of its frames has a wrong header' }
  for (const [index, { compressedSize, size }] of sizes.entries()) {
    const entry = SKIPPABLE_HEADER + index * ENTRY
    if (bytes.readUInt32LE(entry) !== compressedSize || bytes.readUInt32LE(entry + 4) !== size)
      return { place: at(entry), problem: `the table of its frames is wrong about frame ${index + 1}` }
  }
  const isRight =
    bytes.readUInt32LE(footer) === sizes.length &&
    bytes.readUInt8(footer + 4) === 0 &&
    bytes.readUInt32LE(footer + 5) === SEEKABLE_MAGIC
  return isRight ? undefined : { place: at(footer), problem: 'the table of its frames has a wrong end' }
}
