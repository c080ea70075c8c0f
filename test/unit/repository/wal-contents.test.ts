import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { NotFoundError } from '#src/errors.js'
import { walKey } from '#src/repository/layout.js'
import { readSegment } from '#src/repository/wal-contents.js'
import { parseWalFileName } from '#src/postgres/wal-segment.js'
import type { Storage } from '#src/storage/storage.js'
import { WalWriter } from '../../support/wal-writer.js'
import { storeWal, WAL_CLUSTER, withDirectory } from './wal-scene.js'

const NAME = '000000010000000100000005'
const OTHER = '000000010000000100000006'
const key = (name: string): string => walKey(WAL_CLUSTER.name, parseWalFileName(name)!)

/** The segment of that name, of the cluster and size of the scene. */
function segment(): Buffer {
  const wal = new WalWriter({ start: 0x1_0050_0000n, pages: 128 })
  wal.append({ data: Buffer.alloc(50_000, 'something') })
  return wal.segment(0)
}

async function copy(storage: Storage, from: string, to: string): Promise<void> {
  const pieces: Buffer[] = []
  for await (const piece of await storage.get(key(from))) pieces.push(piece as Buffer)
  await storage.put(key(to), Buffer.concat(pieces))
}

describe('readSegment()', () => {
  it('gives the bytes that were pushed, in the buffer that it was given', async () => {
    await withDirectory(async ({ storage, directory }) => {
      await storeWal(storage, directory, NAME, segment())
      assert.ok((await readSegment(storage, WAL_CLUSTER, NAME)).equals(segment()))
      const buffer = Buffer.alloc(WAL_CLUSTER.walSegmentSize)
      const bytes = await readSegment(storage, WAL_CLUSTER, NAME, undefined, buffer)
      assert.ok(bytes.equals(segment()))
      assert.equal(bytes.buffer, buffer.buffer)
    })
  })

  it('says that a segment is not there, and what is no name of one', async () => {
    await withDirectory(async ({ storage }) => {
      await assert.rejects(readSegment(storage, WAL_CLUSTER, NAME), NotFoundError)
      await assert.rejects(readSegment(storage, WAL_CLUSTER, `${NAME}.partial`), { code: 'usage' })
      await assert.rejects(readSegment(storage, WAL_CLUSTER, '../secret'), { code: 'usage' })
    })
  })

  const damages: { name: string; sabotage: (storage: Storage, directory: string) => Promise<unknown>; says: RegExp }[] =
    [
      {
        name: 'the object of another segment',
        sabotage: async (storage, directory) => {
          await storeWal(storage, directory, OTHER, segment())
          await copy(storage, OTHER, NAME)
        },
        says: /is damaged: it holds "000000010000000100000006"/,
      },
      {
        name: 'a segment of another place',
        sabotage: (storage, directory) => {
          const bytes = segment()
          bytes.writeUInt32LE(0x0060_0000, 8)
          return storeWal(storage, directory, NAME, bytes)
        },
        says: /is damaged: it begins at 1\/600000/,
      },
      {
        name: 'a segment of another cluster',
        sabotage: (storage, directory) => {
          const bytes = segment()
          bytes.writeUInt32LE(1, 24)
          return storeWal(storage, directory, NAME, bytes)
        },
        says: /is damaged: it belongs to the cluster/,
      },
      {
        name: 'too few bytes',
        sabotage: (storage, directory) => storeWal(storage, directory, NAME, segment().subarray(0, 500_000)),
        says: /is damaged: it has 500000 bytes instead of 1048576/,
      },
      {
        name: 'a segment of two',
        sabotage: (storage, directory) => storeWal(storage, directory, NAME, Buffer.concat([segment(), segment()])),
        says: /is damaged: it has 2097152 bytes instead of 1048576/,
      },
      {
        name: 'more bytes than its head says',
        sabotage: (storage, directory) => giveBody(storage, directory, Buffer.concat([segment(), segment()])),
        says: /is damaged: its content is not what its head says/,
      },
      {
        name: 'contents of another head',
        sabotage: (storage, directory) => giveBody(storage, directory, segment().fill(1, 200_000)),
        says: /is damaged: its content is not what its head says/,
      },
    ]
  for (const { name, sabotage, says } of damages) {
    it(`refuses ${name} (G3)`, async () => {
      await withDirectory(async ({ storage, directory }) => {
        await sabotage(storage, directory)
        await assert.rejects(readSegment(storage, WAL_CLUSTER, NAME), (error: Error & { code?: string }) => {
          assert.equal(error.code, 'damaged')
          assert.match(error.message, says)
          return true
        })
      })
    })
  }
})

/** Stores the segment with its own head, and the body of another file. */
async function giveBody(storage: Storage, directory: string, contents: Buffer): Promise<void> {
  await storeWal(storage, directory, OTHER, contents)
  await storeWal(storage, directory, NAME, segment())
  const pieces: Buffer[] = []
  for (const name of [NAME, OTHER]) {
    const object: Buffer[] = []
    for await (const piece of await storage.get(key(name))) object.push(piece as Buffer)
    pieces.push(Buffer.concat(object))
  }
  const [head, body] = pieces.map((object) => 8 + object.readUInt32LE(4))
  await storage.put(key(NAME), Buffer.concat([pieces[0]!.subarray(0, head), pieces[1]!.subarray(body)]))
}
