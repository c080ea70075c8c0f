/**
 * Takes one WAL file out of the archive. What is exposed was compared with its name, size and hash before (G3), and
 * "not there" is said only when that is certain (G2).
 */
import { NotFoundError, reasonOf, ToolError } from '../errors.js'
import type { WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { writeFileDurably } from '../streams/write-file-durably.js'
import { readIdentity, type ClusterIdentity } from './identity.js'
import { walKey } from './layout.js'
import { verifiedContents } from './wal-contents.js'
import { findGapEvidence } from './wal-gap.js'
import { openWalObject, type OpenWalObject } from './wal-object-read.js'

/** How to fetch a WAL file. */
export interface FetchOptions {
  /** Timeline of the cluster that asks, where it is known. */
  ownTimeline?: number | undefined
  /** Whether the file is on disk when it is delivered. Default true. */
  sync?: boolean
  /** Called for every piece that has come. */
  onPiece?: (() => void) | undefined
  signal?: AbortSignal | undefined
}

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
  { ownTimeline, sync = true, onPiece, signal }: FetchOptions = {},
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
  try {
    await writeFileDurably(destination, watched(verifiedContents(object, file, cluster), onPiece), { sync })
  } catch (error) {
    // what fails here otherwise is the destination: storage and contents reject with errors of ours
    if (error instanceof ToolError || !(error instanceof Error && 'syscall' in error)) throw error
    throw new ToolError('file-system', `could not write "${destination}": ${reasonOf(error)}`, { cause: error })
  } finally {
    object.body.destroy()
  }
}

async function* watched(
  pieces: AsyncIterable<Uint8Array>,
  onPiece: FetchOptions['onPiece'],
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    onPiece?.()
    yield piece
  }
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
