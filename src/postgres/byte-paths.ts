/**
 * Reads directories whose names are bytes, kept as latin1 text: one character a byte, so any name survives and most cost
 * a fraction of a Buffer.
 *
 * The directories belong to a running server. That something is gone (ENOENT) is an answer; everything else that keeps
 * it from being read is an error naming it (W11, P7).
 */
import { lstatSync, readdirSync, readlinkSync, realpathSync, type Stats } from 'node:fs'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

/** The bytes that latin1 text stands for. */
export function bytes(path: string): Buffer {
  return Buffer.from(path, 'latin1')
}

/** Names in a directory; none when it has vanished, unless it must be there. */
export function list(source: string, required = false): string[] {
  try {
    return readdirSync(bytes(source), { encoding: 'latin1' })
  } catch (error) {
    if (hasVanished(error) && !required) return []
    throw unreadable(source, error)
  }
}

/** The stats of a thing itself, or undefined when it has vanished. */
export function lstat(source: string): Stats | undefined {
  try {
    return lstatSync(bytes(source), { throwIfNoEntry: false })
  } catch (error) {
    throw unreadable(source, error)
  }
}

/** Where a symbolic link points, or undefined when it has vanished. */
export function linkTarget(source: string): Buffer | undefined {
  try {
    return readlinkSync(bytes(source), { encoding: 'buffer' })
  } catch (error) {
    if (hasVanished(error)) return undefined
    throw unreadable(source, error)
  }
}

/** Past all links. The native variant, since the other one turns bytes into UTF-8 text on its way. */
export function realPath(source: string): string {
  try {
    return realpathSync.native(bytes(source), { encoding: 'latin1' })
  } catch (error) {
    throw unreadable(source, error)
  }
}

/** Whether an error says that the thing is not there. */
export function hasVanished(error: unknown): boolean {
  return systemErrorCode(error instanceof ToolError ? error.cause : error) === 'ENOENT'
}

/** Any errno but ENOENT, such as EACCES: an error, never a skip (P7, F5). */
function unreadable(path: string, cause: unknown): ToolError {
  const name = Buffer.from(path, 'latin1').toString()
  return new ToolError('file-system', `could not read "${name}": ${reasonOf(cause)}`, { cause })
}

/** What a thing is, with its article, for a report. */
export function typeOf(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link'
  if (stats.isFile()) return 'a file'
  if (stats.isFIFO()) return 'a FIFO'
  if (stats.isSocket()) return 'a socket'
  return 'a device'
}
