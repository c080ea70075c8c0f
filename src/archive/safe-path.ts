/** Paths that come out of a repository are checked before anything is written by them (R4). */
import { ToolError } from '../errors.js'

/** Throws ToolError `damaged` for a path (latin1) that is absolute, empty, climbs out of its directory or holds a NUL. */
export function checkRelativePath(path: string, source: string): void {
  const parts = path.split('/')
  if (path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new ToolError(
      'damaged',
      `"${source}" names the path ${JSON.stringify(path)}, which is not inside the data directory`,
    )
  }
}
