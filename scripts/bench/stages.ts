/**
 * What each step of a backup and of a restore costs by itself, on the files of the cluster: the model behind the times of
 * the whole, and which step is the limit. One thread; CPU and wall time of this process.
 */
import { createHash } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readdirSync, readSync, rmSync, statSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { crc32 } from 'node:zlib'
import { createFrameMemory, type FrameMemory } from '#src/archive/archive-source.js'
import { createFileChecksum } from '#src/postgres/checksum.js'
import type { PartSource } from '#src/storage/storage.js'
import { FileWriter } from '#src/streams/file-writer.js'
import { FrameCompressor } from '#src/streams/zstd-compress.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import { withStorage } from './stores.js'
import type { Stage } from './results.js'
import type { Site } from './tool.js'

const FRAME_BYTES = 8 * 1024 * 1024
const PIECE_BYTES = 1024 * 1024
const BLOCK_BYTES = 8192
/** Enough for the caches to be out of the play, and small enough to be held. */
const SAMPLE_BYTES = 512 * 1024 * 1024

/** Measures all stages on a sample of the cluster's relation files. `work` is a directory on the file system of a restore. */
export async function measureStages(pgdata: string, work: string, site: Site): Promise<Stage[]> {
  const pieces = sampleOf(pgdata)
  const memory = createFrameMemory()
  const frames: Buffer[] = []
  const stages: Stage[] = []
  const over = async (name: string, part: Stage['part'], step: () => number | Promise<number>): Promise<void> => {
    const [began, cpu] = [performance.now(), process.cpuUsage()]
    const bytes = await step()
    const { user, system } = process.cpuUsage(cpu)
    stages.push({ name, part, bytes, cpu: (user + system) / 1e6, wall: (performance.now() - began) / 1000 })
  }
  // once for the page cache, and once to be measured
  eachFrame(pieces, memory, () => undefined)
  await over('read from the page cache', 'backup', () => eachFrame(pieces, memory, () => undefined))
  const { checker } = memory
  const pages = checker(BLOCK_BYTES)
  // with the reading, which is taken away below: what follows works on bytes that are in the cache
  const beside = async (name: string, step: (frame: Uint8Array, firstBlock: number) => void): Promise<void> => {
    await over(name, 'backup', () => eachFrame(pieces, memory, step))
    const [read, last] = [stages[0]!, stages.at(-1)!]
    last.cpu = Math.max(last.cpu - read.cpu, 0)
    last.wall = Math.max(last.wall - read.wall, 0)
  }
  await beside('verify page checksums', (frame, block) => {
    pages.firstBadPage(0, Math.floor(frame.length / BLOCK_BYTES), block)
  })
  await beside('CRC32C of the files', (frame) => {
    const checksum = createFileChecksum('CRC32C')
    for (let at = 0; at < frame.length; at += PIECE_BYTES) checksum.update(frame.subarray(at, at + PIECE_BYTES))
    checksum.digest()
  })
  const compressor = new FrameCompressor({ level: 1 })
  const room = Buffer.allocUnsafeSlow(FRAME_BYTES + FRAME_BYTES / 128)
  await beside('zstd level 1', (frame) => {
    compressor.begin(frame)
    frames.push(Buffer.from(room.subarray(0, compressor.drain(room))))
  })
  const tarBytes = stages[0]!.bytes
  const stored = frames.reduce((sum, { length }) => sum + length, 0)
  const ofTar = (step: () => unknown) => async (): Promise<number> => {
    await step()
    return tarBytes
  }
  await over(
    'SHA-256 of what is stored',
    'backup',
    ofTar(() => {
      const hash = createHash('sha256')
      for (const frame of frames) hash.update(frame)
      hash.digest()
    }),
  )
  await over(
    'CRC32 of the parts',
    'backup',
    ofTar(() => {
      for (const frame of frames) crc32(frame)
    }),
  )
  await withStorage(site, 'stages', async (storage) => {
    // what a start costs is no matter of bytes
    await storage.put('first', partsOf(frames), { maxSize: stored })
    await passOver(await storage.get('first'))
    await over(
      'send to the bucket',
      'backup',
      ofTar(() => storage.put('object', partsOf(frames), { maxSize: stored })),
    )
    await over(
      'receive from the bucket',
      'restore',
      ofTar(async () => {
        await passOver(await storage.get('object'))
      }),
    )
    await storage.delete(['first', 'object'])
  })
  await over(
    'decompress',
    'restore',
    ofTar(async () => {
      await passOver(decompress(Readable.from(frames), [memory.bytes], 'sample'))
    }),
  )
  stages.push({ ...stages.find(({ name }) => name.startsWith('CRC32C'))!, part: 'restore' })
  const target = path.join(work, 'written')
  mkdirSync(target)
  await over('write', 'restore', () => writeAll(target, memory, tarBytes))
  rmSync(target, { recursive: true })
  return stages
}

/** A piece of a file that is taken as one frame. */
interface SamplePiece {
  file: string
  /** Of the file, a multiple of the frame. */
  offset: number
}

/** Whole frames of the large relation files, as many of each as its size is of all: how well they compress differs widely. */
function sampleOf(pgdata: string): SamplePiece[] {
  const all = readdirSync(path.join(pgdata, 'base'), { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(pgdata, 'base', name))
    .filter((file) => statSync(file).isFile())
    .sort()
    .flatMap((file) =>
      Array.from({ length: Math.floor(statSync(file).size / FRAME_BYTES) }, (_, n) => ({
        file,
        offset: n * FRAME_BYTES,
      })),
    )
  const every = Math.max(1, Math.ceil((all.length * FRAME_BYTES) / SAMPLE_BYTES))
  return all.filter((_, n) => n % every === 0)
}

function eachFrame(
  pieces: readonly SamplePiece[],
  memory: FrameMemory,
  step: (frame: Uint8Array, firstBlock: number) => void,
): number {
  for (const { file, offset } of pieces) {
    const descriptor = openSync(file, 'r')
    for (let filled = 0; filled < FRAME_BYTES;) {
      const read = readSync(descriptor, memory.bytes, filled, PIECE_BYTES, offset + filled)
      if (read === 0) throw new Error(`"${file}" got shorter`)
      filled += read
    }
    closeSync(descriptor)
    step(memory.bytes.subarray(0, FRAME_BYTES), offset / BLOCK_BYTES)
  }
  return pieces.length * FRAME_BYTES
}

async function passOver(pieces: AsyncIterable<unknown>): Promise<void> {
  const iterator = pieces[Symbol.asyncIterator]()
  while (!(await iterator.next()).done);
}

function partsOf(frames: readonly Buffer[]): PartSource {
  let [index, offset] = [0, 0]
  return {
    fill: (buffer) => {
      let filled = 0
      while (filled < buffer.length && index < frames.length) {
        const piece = frames[index]!.subarray(offset, offset + buffer.length - filled)
        buffer.set(piece, filled)
        filled += piece.length
        offset += piece.length
        if (offset === frames[index]!.length) [index, offset] = [index + 1, 0]
      }
      return Promise.resolve(filled)
    },
  }
}

/** Files of 1 GiB at most, as a restore writes them. */
async function writeAll(target: string, memory: FrameMemory, bytes: number): Promise<number> {
  for (let at = 0, file = 0; at < bytes; file += 1) {
    const size = Math.min(1024 ** 3, bytes - at)
    const writer = new FileWriter(Buffer.from(path.join(target, String(file))), { size, mode: 0o600 })
    while (writer.rest > 0) await writer.write(memory.bytes.subarray(0, Math.min(FRAME_BYTES, writer.rest)), true)
    await writer.finish()
    at += size
  }
  return bytes
}
