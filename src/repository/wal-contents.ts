/** The contents of archived WAL files, proven to be what their name and their head say (G3). */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { segmentProblem, WAL_LONG_HEADER_SIZE } from '../postgres/wal-page-header.js'
import { parseWalFileName, type WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { walKey } from './layout.js'
import { openWalObject, type OpenWalObject } from './wal-object-read.js'

/**
 * The contents of an opened WAL object, piece by piece, never more than its head says. Throws ToolError `damaged`: at the
 * first piece for a header of another cluster or segment, at the end for another hash; so nothing counts before the end.
 */
export async function* verifiedContents(
  { head, body }: OpenWalObject,
  file: WalFile,
  cluster: ClusterIdentity,
): AsyncGenerator<Uint8Array> {
  const key = walKey(cluster.name, file)
  if (head.name !== file.name) throw new ToolError('damaged', `"${key}" is damaged: it holds "${head.name}"`)
  const hash = createHash('sha256')
  let size = 0
  for await (const bytes of body.contents()) {
    if (size === 0) checkHeader(bytes, head.size, file, cluster, key)
    hash.update(bytes)
    size += bytes.length
    // no more onto a disk, or into memory, than can be right
    if (size > head.size) break
    yield bytes
  }
  if (size !== head.size || hash.digest('hex') !== head.sha256)
    throw new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
}

function checkHeader(bytes: Uint8Array, size: number, file: WalFile, cluster: ClusterIdentity, key: string): void {
  if (file.kind !== 'segment' && file.kind !== 'partial') return
  const problem = segmentProblem(bytes.subarray(0, WAL_LONG_HEADER_SIZE), {
    name: file.name,
    size,
    systemIdentifier: BigInt(cluster.systemIdentifier),
    walSegmentSize: cluster.walSegmentSize,
  })
  if (problem !== undefined) throw new ToolError('damaged', `"${key}" is damaged: ${problem}`)
}

/**
 * All bytes of an archived segment in `buffer`: as large as a segment, and for the caller to use again. Rejects with
 * NotFoundError where the archive has none of that name, and with ToolError `damaged` where it is not that segment of that
 * cluster.
 */
export async function readSegment(
  storage: Storage,
  cluster: ClusterIdentity,
  name: string,
  signal?: AbortSignal,
  buffer: Buffer = Buffer.allocUnsafe(cluster.walSegmentSize),
): Promise<Buffer> {
  const file = parseWalFileName(name)
  if (file?.kind !== 'segment') throw new ToolError('usage', `"${name}" is not the name of a WAL segment`)
  const object = await openWalObject(storage, walKey(cluster.name, file), signal)
  try {
    let size = 0
    for await (const piece of verifiedContents(object, file, cluster)) {
      buffer.set(piece, size)
      size += piece.length
    }
    return buffer.subarray(0, size)
  } finally {
    object.body.destroy()
  }
}
