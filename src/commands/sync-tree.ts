/** Makes a restored directory durable: every file and every directory, once, after all were written (R8). */
import { lstat, open, readdir } from 'node:fs/promises'
import { reasonOf, ToolError } from '../errors.js'

/** Syncs in flight at a time: the file system commits its journal for many of them together. */
const PARALLEL = 32

/** Syncs everything below `root`, and `root` itself; links are followed no further than given. Returns the files synced. */
export async function syncTree(root: string, signal: AbortSignal): Promise<number> {
  let files = 0
  const waiting: Promise<void>[] = []
  const sync = async (path: Buffer): Promise<void> => {
    try {
      const file = await open(path, 'r')
      try {
        await file.sync()
      } finally {
        await file.close()
      }
    } catch (cause) {
      throw new ToolError('file-system', `could not sync "${path.toString()}": ${reasonOf(cause)}`, { cause })
    }
  }
  const visit = async (directory: Buffer): Promise<void> => {
    for (const entry of await readdir(directory, { encoding: 'buffer', withFileTypes: true })) {
      signal.throwIfAborted()
      const path = Buffer.concat([directory, Buffer.from('/'), entry.name])
      if (entry.isDirectory()) await visit(path)
      else if (entry.isFile()) {
        files++
        waiting.push(sync(path))
        if (waiting.length >= PARALLEL) await Promise.all(waiting.splice(0))
      }
    }
    await Promise.all(waiting.splice(0))
    await sync(directory)
  }
  await lstat(root)
  await visit(Buffer.from(root))
  return files
}
