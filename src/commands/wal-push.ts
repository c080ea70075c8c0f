/**
 * Archive one WAL file: what archive_command calls. No database is asked: the file, PGDATA and the repository say all.
 *
 * Success means that the object is durably stored, or was already there with the same content (A1, A2).
 */
import { basename, dirname, resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'
import { segmentProblem } from '../postgres/wal-page-header.js'
import { parseWalFileName, type WalFile } from '../postgres/wal-segment.js'
import { claimIdentity, type ClusterIdentity } from '../repository/identity.js'
import { hashFile, type WalObjectHead } from '../repository/wal-object.js'
import { pushWalFile, type PushResult } from '../repository/wal-push.js'
import { localCluster, localDirectory } from './local-cluster.js'
import type { CommandContext } from './context.js'
import { openToWrite } from './open-repository.js'

/** Archives the WAL file at `path` (`%p`: relative to PGDATA, which is the working directory; A7). */
export async function walPush(settings: Settings, path: string, context: CommandContext): Promise<PushResult> {
  const file = parseWalFileName(basename(path))
  if (!file) {
    throw new ToolError('usage', `"${basename(path)}" is not the name of a WAL file`, {
      hint: 'Expected a segment, .partial, .history or .backup file, as archive_command passes with %p.',
    })
  }
  const { size, sha256, head } = hash(path)
  const parent = dirname(dirname(resolve(path)))
  const facts = await localCluster((await localDirectory([parent, process.cwd()])) ?? settings.pgdata ?? parent)
  checkFile(file, size, head, facts)
  const { storage, options } = await openToWrite(settings, undefined, context.signal)
  try {
    const identity: ClusterIdentity = await claimIdentity(storage, facts, context.signal)
    const said: WalObjectHead = { name: file.name, size, sha256 }
    const { signal } = context
    const result = await pushWalFile(storage, identity.name, file, path, said, {
      level: settings.compressionLevel,
      abilities: options.abilities,
      signal,
    })
    if (result.outcome === 'already-there') {
      context.report({ type: 'warning', message: `"${file.name}" is in the archive already, with the same content` })
    }
    return result
  } finally {
    storage.close()
  }
}

function hash(path: string): { size: number; sha256: string; head: Buffer } {
  try {
    return hashFile(path)
  } catch (cause) {
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(cause)}`, { cause })
  }
}

/** Nothing of the wrong size, of another cluster or under another name gets into the archive (A5). */
function checkFile(
  file: WalFile,
  size: number,
  head: Buffer,
  facts: { systemIdentifier: bigint; walSegmentSize: number },
): void {
  if (file.kind !== 'segment' && file.kind !== 'partial') {
    if (size === 0) throw new ToolError('refused', `"${file.name}" is empty`)
    return
  }
  const problem = segmentProblem(head, { name: file.name, size, ...facts })
  if (problem) throw new ToolError('refused', `"${file.name}" is no valid WAL segment of this cluster: ${problem}`)
}
