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
import { claimIdentity } from '../repository/identity.js'
import { lookAtWalFile, WalCompressor, type WalFileFacts } from '../repository/wal-object.js'
import { PushMemory } from '../repository/push-memory.js'
import { pushWalFile, type PushResult } from '../repository/wal-push.js'
import type { CommandContext } from './context.js'
import { localCluster, localDirectory, type LocalCluster } from './local-cluster.js'
import { openToWrite } from './open-repository.js'
import { PushAhead } from './push-ahead.js'

/** In work at a time: one is compressed while another is sent. */
const PARALLEL = 2

/**
 * Archives the WAL file at `path` (`%p`: relative to PGDATA, which is the working directory; A7). With `place`, as the
 * shell front gives it, what else is ready is stored in the same run.
 */
export async function walPush(
  settings: Settings,
  path: string,
  context: CommandContext,
  place?: string,
): Promise<PushResult> {
  const file = parseWalFileName(basename(path))
  if (!file) {
    throw new ToolError('usage', `"${basename(path)}" is not the name of a WAL file`, {
      hint: 'Expected a segment, .partial, .history or .backup file, as archive_command passes with %p.',
    })
  }
  const parent = dirname(dirname(resolve(path)))
  const facts = await localCluster((await localDirectory([parent, process.cwd()])) ?? settings.pgdata ?? parent)
  const ahead =
    place !== undefined && settings.pushAhead > 0
      ? new PushAhead({ place, pgWal: dirname(path), most: settings.pushAhead, parallel: PARALLEL }, context)
      : undefined
  await ahead?.begin(file.name)
  const asked = await readAndCheck(file, path, facts)
  const { storage, options } = await openToWrite(settings, undefined, context.signal)
  try {
    const { name: cluster } = await claimIdentity(storage, facts, context.signal)
    const { abilities } = options
    const { signal } = context
    const memory = new PushMemory()
    const compressors: WalCompressor[] = []
    const store = (wanted: WalFile, from: string, read: WalFileFacts, slot: number): Promise<PushResult> => {
      const compressor = (compressors[slot] ??= new WalCompressor(settings.compressionLevel))
      return pushWalFile(storage, cluster, wanted, from, read, { compressor, memory, abilities, signal })
    }
    const storing = store(file, path, asked, 0)
    const others = ahead?.run(storing, async (next, from, slot) =>
      store(next, from, await readAndCheck(next, from, facts), slot),
    )
    try {
      const result = await storing
      await ahead?.noteAsked()
      if (result.outcome === 'already-there') {
        context.report({ type: 'warning', message: `"${file.name}" is in the archive already, with the same content` })
      }
      return result
    } finally {
      await others
    }
  } finally {
    storage.close()
  }
}

async function readAndCheck(file: WalFile, path: string, facts: LocalCluster): Promise<WalFileFacts> {
  let read: WalFileFacts
  try {
    read = await lookAtWalFile(path)
  } catch (cause) {
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(cause)}`, { cause })
  }
  checkFile(file, read.size, read.first, facts)
  return read
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
