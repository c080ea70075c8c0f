/** The contents of archived WAL segments, for what is read in them here and now. */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { segmentProblem } from '../postgres/wal-page-header.js'
import { parseWalFileName } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import type { ClusterIdentity } from './identity.js'
import { walKey } from './layout.js'
import { openWalObject } from './wal-object-read.js'

/**
 * All bytes of an archived segment, verified like everything that is fetched (G3), in `buffer`: as large as a segment, and
 * for the caller to use again. Rejects with NotFoundError where the archive has none of that name, and with ToolError
 * `damaged` where it is not that segment of that cluster.
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
  const key = walKey(cluster.name, file)
  const { head, body } = await openWalObject(storage, key, signal)
  try {
    if (head.name !== name) throw new ToolError('damaged', `"${key}" is damaged: it holds "${head.name}"`)
    let size = 0
    for await (const piece of body.contents()) {
      // no more into memory than can be right
      if (size + piece.length > buffer.length) throw notAsItsHead(key)
      buffer.set(piece, size)
      size += piece.length
    }
    const bytes = buffer.subarray(0, size)
    const hash = createHash('sha256').update(bytes).digest('hex')
    if (size !== head.size || hash !== head.sha256) throw notAsItsHead(key)
    const problem = segmentProblem(bytes, {
      name,
      size,
      systemIdentifier: BigInt(cluster.systemIdentifier),
      walSegmentSize: cluster.walSegmentSize,
    })
    if (problem !== undefined) throw new ToolError('damaged', `"${key}" is damaged: ${problem}`)
    return bytes
  } finally {
    body.destroy()
  }
}

function notAsItsHead(key: string): ToolError {
  return new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
}
