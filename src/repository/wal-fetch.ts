/**
 * Takes one WAL file out of the archive. What is exposed was compared with its name, size and hash before (G3), and
 * "not there" is said only when that is certain (G2).
 */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { NotFoundError, ToolError } from '../errors.js'
import { WAL_LONG_HEADER_SIZE, segmentProblem } from '../postgres/wal-page-header.js'
import type { WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { writeFileDurably } from '../streams/write-file-durably.js'
import { decompress } from '../streams/zstd-decompress.js'
import { readIdentity, type ClusterIdentity } from './identity.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
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
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value
  }
  return {
    head,
    body: {
      contents: () => decompress(all(), new Uint8Array(BUFFER_BYTES), key),
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

/**
 * Delivers a WAL file to `destination`, whole and verified, by rename (G4). Rejects with ToolError `not-in-archive` only
 * for a definite absence; a hole with later segments behind it is `wal-missing`, not the end of the archive.
 */
export async function fetchWalFile(
  storage: Storage,
  cluster: ClusterIdentity,
  file: WalFile,
  destination: string,
  signal?: AbortSignal,
): Promise<void> {
  const key = walKey(cluster.name, file)
  let object: OpenWalObject
  try {
    object = await openWalObject(storage, key, signal)
  } catch (error) {
    if (error instanceof NotFoundError) await throwAbsent(storage, cluster, file, error, signal)
    throw error
  }
  const { head, body } = object
  try {
    if (head.name !== file.name) throw new ToolError('damaged', `"${key}" is damaged: it holds "${head.name}"`)
    await writeFileDurably(destination, verified(body.contents(), head, file, cluster, key))
  } finally {
    body.destroy()
  }
}

async function* verified(
  contents: AsyncIterable<Uint8Array>,
  head: WalObjectHead,
  file: WalFile,
  cluster: ClusterIdentity,
  key: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  let size = 0
  for await (const bytes of contents) {
    if (size === 0) checkHeader(bytes, head, file, cluster, key)
    hash.update(bytes)
    size += bytes.length
    yield bytes
  }
  if (size !== head.size || hash.digest('hex') !== head.sha256) {
    throw new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
  }
}

function checkHeader(
  bytes: Uint8Array,
  head: WalObjectHead,
  file: WalFile,
  cluster: ClusterIdentity,
  key: string,
): void {
  if (file.kind !== 'segment' && file.kind !== 'partial') return
  const problem = segmentProblem(bytes.subarray(0, WAL_LONG_HEADER_SIZE), {
    name: file.name,
    size: head.size,
    systemIdentifier: BigInt(cluster.systemIdentifier),
    walSegmentSize: cluster.walSegmentSize,
  })
  if (problem) throw new ToolError('damaged', `"${key}" is damaged: ${problem}`)
}

/** The key does not exist; that it is absent from the archive needs more (G2). */
async function throwAbsent(
  storage: Storage,
  cluster: ClusterIdentity,
  file: WalFile,
  cause: unknown,
  signal?: AbortSignal,
): Promise<never> {
  // the same bucket, prefix and credentials can read what must be there
  await readIdentity(storage, cluster.name, signal)
  if (file.kind === 'segment') {
    const options = { startAfter: walKey(cluster.name, file), signal }
    for await (const { key } of storage.list(walTimelinePrefix(cluster.name, file.timeline), options)) {
      const later = walFileNameOf(key)
      if (later === undefined || !/^[0-9A-F]{24}$/.test(later)) continue
      throw new ToolError('wal-missing', `"${file.name}" is missing from the archive, and "${later}" is there`, {
        cause,
        hint: 'This is a gap, not the end of the archive: recovery cannot go past it.',
      })
    }
  }
  throw new ToolError('not-in-archive', `"${file.name}" is not in the archive`)
}
