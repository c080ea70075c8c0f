/**
 * Takes one WAL file out of the archive. What is exposed was compared with its name, size and hash before (G3), and
 * "not there" is said only when that is certain (G2).
 */
import { createHash } from 'node:crypto'
import { NotFoundError, reasonOf, ToolError } from '../errors.js'
import { WAL_LONG_HEADER_SIZE, segmentProblem } from '../postgres/wal-page-header.js'
import type { WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { writeFileDurably } from '../streams/write-file-durably.js'
import { readIdentity, type ClusterIdentity } from './identity.js'
import { walKey } from './layout.js'
import { findGapEvidence } from './wal-gap.js'
import type { WalObjectHead } from './wal-object.js'
import { openWalObject, type OpenWalObject } from './wal-object-read.js'

/**
 * Delivers a WAL file to `destination`, whole and verified, by rename (G4). Rejects with ToolError `not-in-archive` only
 * for a definite absence; a hole with something later behind it is `wal-missing`, not the end of the archive.
 *
 * `ownTimeline` is that of the cluster that asks, where it is known: the history of that one may be absent. Where its
 * timeline began before the archive did, nobody has it, and nothing is lost by that.
 */
export async function fetchWalFile(
  storage: Storage,
  cluster: ClusterIdentity,
  file: WalFile,
  destination: string,
  { ownTimeline, signal }: { ownTimeline?: number | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const key = walKey(cluster.name, file)
  let object: OpenWalObject
  try {
    object = await openWalObject(storage, key, signal)
  } catch (error) {
    if (!(error instanceof NotFoundError)) throw error
    await throwIfMissing(storage, cluster, file, { ownTimeline, cause: error, signal })
    throw new ToolError('not-in-archive', `"${file.name}" is not in the archive`)
  }
  const { head, body } = object
  try {
    if (head.name !== file.name) throw new ToolError('damaged', `"${key}" is damaged: it holds "${head.name}"`)
    await writeFileDurably(destination, verified(body.contents(), head, file, cluster, key))
  } catch (error) {
    // what fails here otherwise is the destination: storage and contents reject with errors of ours
    if (error instanceof ToolError || !(error instanceof Error && 'syscall' in error)) throw error
    throw new ToolError('file-system', `could not write "${destination}": ${reasonOf(error)}`, { cause: error })
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
    // no more onto the disk than can be right: it may be the one of a server
    if (size > head.size) break
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

/** The key does not exist; that the file is absent from the archive needs more (G2, G6). */
async function throwIfMissing(
  storage: Storage,
  cluster: ClusterIdentity,
  file: WalFile,
  options: { ownTimeline: number | undefined; cause: unknown; signal: AbortSignal | undefined },
): Promise<void> {
  // the same bucket, prefix and credentials can read what must be there
  await readIdentity(storage, cluster.name, options.signal)
  if (file.kind === 'history' && file.timeline === options.ownTimeline) return
  const evidence = await findGapEvidence(storage, cluster, file, options.signal)
  if (evidence === undefined) return
  throw new ToolError('wal-missing', `"${file.name}" is missing from the archive, and ${evidence}`, {
    cause: options.cause,
    hint:
      file.kind === 'history'
        ? 'Push it with "pgsluice wal push" from pg_wal of a server that has it: without it recovery would miss that timeline.'
        : 'This is a gap, not the end of the archive: recovery cannot go past it.',
  })
}
