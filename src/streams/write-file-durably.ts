/**
 * Writes a file so that after a crash it is there whole or not at all.
 *
 * The bytes go to a temporary name beside the target (the same file system, or rename could not be atomic), are synced,
 * and get their name only then; syncing the directory makes the name itself durable. An error leaves no temporary file.
 */
import { randomBytes } from 'node:crypto'
import { link, open, rename, unlink } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { systemErrorCode } from '../errors.js'

/** Options of {@link writeFileDurably}. */
export interface WriteFileOptions {
  /** Permission bits of the new file, before the umask. Default 0o666. */
  mode?: number | undefined
  /** Permission bits of the new file, whatever the umask says. */
  exactMode?: number | undefined
  /** Never replace: rejects with a system error whose code is `EEXIST` where the name is taken. Default false. */
  ifAbsent?: boolean | undefined
  /** With false it is whole or not there at all, but not yet on disk. Default true. */
  sync?: boolean | undefined
  signal?: AbortSignal | undefined
}

/** Not the target's name with something added: that could be longer than the 255 bytes a name may have. */
const TEMPORARY_NAME = /^\.pgsluice-[0-9a-f]{16}\.tmp$/

/** Whether a file of this name is an unfinished write, never content. */
export function isTemporaryName(path: string): boolean {
  return TEMPORARY_NAME.test(basename(path))
}

/**
 * Resolves to the number of bytes when content and name are on disk. A chunk of `content` is not used once the next is
 * asked for, so that its buffer may be filled again. Rejects with the error of `content` or of the file system.
 */
export async function writeFileDurably(
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  options: WriteFileOptions = {},
): Promise<number> {
  options.signal?.throwIfAborted()
  const temporary = join(dirname(path), `.pgsluice-${randomBytes(8).toString('hex')}.tmp`)
  const file = await open(temporary, 'wx', options.mode ?? 0o666)
  let left = true
  try {
    const written = await writeAndClose(file, content, options)
    options.signal?.throwIfAborted()
    if (options.ifAbsent === true) {
      // link() fails where the name exists, in one step; rename() would replace, and a look before it would be a race
      await link(temporary, path)
    } else {
      await rename(temporary, path)
      left = false
    }
    if (left) await unlink(temporary)
    left = false
    if (options.sync !== false) await syncDirectory(dirname(path))
    return written
  } finally {
    // the failure on its way out is the one to report, not that of the clean-up
    if (left) await unlink(temporary).catch(() => undefined)
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string | Buffer): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } catch (error) {
    // some file systems do not sync directories, and say EINVAL; the names are then as durable as they can be
    if (systemErrorCode(error) !== 'EINVAL') throw error
  } finally {
    await directory.close()
  }
}

async function writeAndClose(
  file: FileHandle,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  { exactMode, sync, signal }: WriteFileOptions,
): Promise<number> {
  let written = 0
  try {
    if (exactMode !== undefined) await file.chmod(exactMode)
    for await (const chunk of content instanceof Uint8Array ? [content] : content) {
      signal?.throwIfAborted()
      await writeAll(file, chunk)
      written += chunk.byteLength
    }
    if (sync !== false) await file.sync()
  } finally {
    await file.close()
  }
  return written
}

/** write(2) may write less than it was given, when the disk is nearly full or a limit is near. */
async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  let done = 0
  while (done < chunk.byteLength) done += (await file.write(chunk, done, chunk.byteLength - done)).bytesWritten
}
