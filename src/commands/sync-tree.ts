/** Makes a restored directory durable: every file and every directory, once, after all were written (R8). */
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { syncDirectory } from '../streams/write-file-durably.js'
import type { CommandContext } from './context.js'
import type { RestoreTarget } from './restore-target.js'

/** Syncs in flight at a time: the file system commits its journal for many of them together. */
const PARALLEL = 32

/** Syncs all that a restore has written, down to the names in the parents; pg_control has no name yet. Returns the files synced. */
export async function syncTarget(target: RestoreTarget, { signal, report }: CommandContext): Promise<number> {
  let files = await syncTree(target.directory, signal)
  for (const location of target.locations.values()) {
    // all else in a location is somebody else's: other versions' data, a `lost+found` that only root may read (T1)
    files += await syncTree(join(location, target.versionDirectory), signal)
    await sync(location)
  }
  for (const [parent, isOurs] of target.parents) {
    try {
      await syncDirectory(parent)
    } catch (error) {
      // a directory like /home that one may pass, not read: its owner's affair, and no reason to lose the restore
      if (isOurs || !/^(EACCES|EPERM)$/.test(systemErrorCode(error) ?? '')) throw unsynced(parent, error)
      report({ type: 'warning', message: `could not sync the directory "${parent}": ${reasonOf(error)}` })
    }
  }
  return files
}

/** Syncs everything below `root`, and `root` itself, where there is one; no link is followed. Returns the files synced. */
async function syncTree(root: string, signal: AbortSignal): Promise<number> {
  let files = 0
  const waiting: Promise<void>[] = []
  const visit = async (directory: Buffer): Promise<void> => {
    for (const entry of await entriesOf(directory)) {
      signal.throwIfAborted()
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name])
      if (entry.isDirectory()) await visit(path)
      else if (entry.isFile()) {
        files++
        waiting.push(syncFile(path))
        if (waiting.length >= PARALLEL) await Promise.all(waiting.splice(0))
      }
    }
    await Promise.all(waiting.splice(0))
    await sync(directory)
  }
  const entries = await readdir(root).catch((error: unknown) => {
    // a tablespace without files of this cluster
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw unsynced(root, error)
  })
  if (entries) await visit(Buffer.from(root))
  return files
}

async function entriesOf(directory: Buffer): ReturnType<typeof readBufferNames> {
  return readBufferNames(directory).catch((error: unknown) => {
    throw unsynced(directory, error)
  })
}

function readBufferNames(directory: Buffer) {
  return readdir(directory, { encoding: 'buffer', withFileTypes: true })
}

async function syncFile(path: Buffer): Promise<void> {
  try {
    const file = await open(path, 'r')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw unsynced(path, error)
  }
}

async function sync(directory: string | Buffer): Promise<void> {
  await syncDirectory(directory).catch((error: unknown) => {
    throw unsynced(directory, error)
  })
}

function unsynced(path: string | Buffer, cause: unknown): ToolError {
  return new ToolError('file-system', `could not sync "${path.toString()}": ${reasonOf(cause)}`, { cause })
}
