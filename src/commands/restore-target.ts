/**
 * Where a restore goes: all checks for all targets before the first byte is written (R1), the directories and links,
 * and the way back when the restore fails.
 *
 * A marker lies in the target until the restore is done: a directory that a killed restore left is recognised by the
 * next one, which starts over, and is never taken for a cluster.
 */
import { chmod, chown, mkdir, readdir, rm, rmdir, statfs, symlink, writeFile } from 'node:fs/promises'
import { isAbsolute, join, relative, resolve } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { parseMode, pathOfLine, type DirectoryLine, type TablespaceLine } from '../repository/files-index.js'

/** Name of the marker. */
const MARKER = 'pgsluice.restore-in-progress'

/** What a restore writes to. */
export interface RestoreTarget {
  /** Absolute. */
  directory: string
  /** Location of each tablespace that lives outside, by OID. */
  locations: Map<number, string>
  /** The target directory did not exist before. */
  created: boolean
}

/** Options of {@link checkTarget}. */
export interface TargetOptions {
  targetDirectory: string
  /** Old location to new one. */
  tablespaceMapping: ReadonlyMap<string, string>
  tablespaces: readonly { oid: number; location: string; inPlace?: true | undefined }[]
  /** `PG_<major>_<catalog version>`: the directory of this cluster within a location. */
  versionDirectory: string
  /** Bytes that will be written. */
  bytes: number
}

/** Checks everything and writes nothing. Throws ToolError `refused` or `usage`. */
export async function checkTarget(options: TargetOptions): Promise<RestoreTarget> {
  const directory = resolve(options.targetDirectory)
  const entries = await entriesOf(directory)
  if (entries && entries.length > 0 && !isAbandoned(entries)) {
    const running = entries.includes('postmaster.pid') ? ', and a server may be running in it' : ''
    throw new ToolError('refused', `the target directory "${directory}" is not empty${running}`, {
      hint: 'Restore into an empty directory, or one that does not exist yet.',
    })
  }
  const locations = mapLocations(directory, options)
  for (const location of locations.values()) {
    const inside = await entriesOf(join(location, options.versionDirectory))
    if (inside && inside.length > 0 && !(entries && isAbandoned(entries))) {
      throw new ToolError('refused', `the tablespace location "${location}" holds files of a cluster of this version`, {
        hint: 'Give it another place with --tablespace-mapping OLD=NEW.',
      })
    }
  }
  await checkSpace(directory, options.bytes)
  return { directory, locations, created: entries === undefined }
}

function isAbandoned(entries: readonly string[]): boolean {
  return entries.includes(MARKER)
}

async function entriesOf(directory: string): Promise<string[] | undefined> {
  try {
    return await readdir(directory)
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') return undefined
    throw new ToolError('file-system', `could not look into "${directory}": ${reasonOf(cause)}`, { cause })
  }
}

/** New locations do not collide, lie in each other or in the data directory (T10). */
function mapLocations(directory: string, options: TargetOptions): Map<number, string> {
  const unused = new Map(options.tablespaceMapping)
  const locations = new Map<number, string>()
  for (const { oid, location, inPlace } of options.tablespaces) {
    if (inPlace) continue
    const mapped = unused.get(location) ?? location
    unused.delete(location)
    if (!isAbsolute(mapped)) throw new ToolError('usage', `the tablespace location "${mapped}" is not absolute`)
    locations.set(oid, resolve(mapped))
  }
  const [unknown] = unused.keys()
  if (unknown !== undefined) {
    const known = options.tablespaces.map(({ location }) => location).join(', ')
    throw new ToolError('usage', `no tablespace of this backup is at "${unknown}"`, {
      hint: known === '' ? 'It has no tablespaces.' : `Its tablespaces are at: ${known}.`,
    })
  }
  const all = [...locations.values()]
  for (const [index, location] of all.entries()) {
    const other = [directory, ...all.filter((_, i) => i !== index)].find((place) => isWithin(location, place))
    if (other !== undefined) {
      throw new ToolError('usage', `the tablespace location "${location}" is "${other}" or lies inside it`, {
        hint: 'Give each tablespace a place of its own with --tablespace-mapping OLD=NEW.',
      })
    }
  }
  return locations
}

function isWithin(path: string, place: string): boolean {
  const way = relative(place, path)
  return way === '' || (!way.startsWith('..') && !isAbsolute(way))
}

async function checkSpace(directory: string, bytes: number): Promise<void> {
  for (let place = directory; ; place = resolve(place, '..')) {
    const space = await statfs(place).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT' && place !== '/') return undefined
      throw new ToolError('file-system', `could not look at "${place}": ${reasonOf(error)}`, { cause: error })
    })
    if (!space) continue
    const free = space.bavail * space.bsize
    if (free >= bytes) return
    throw new ToolError('file-system', `"${place}" has ${free} bytes free, and the backup needs ${bytes}`)
  }
}

/** Makes the target directory, its sub-directories and the tablespace links. */
export async function makeDirectories(
  target: RestoreTarget,
  lines: readonly (DirectoryLine | TablespaceLine)[],
  setOwner: boolean,
): Promise<void> {
  const root = Buffer.from(target.directory)
  try {
    await mkdir(root, { recursive: true })
    await removeContents(target)
    await writeFile(join(target.directory, MARKER), 'A restore began here and has not ended.\n')
    const global = lines.find((line) => pathOfLine(line).equals(Buffer.from('global')))
    if (global) await settle(root, global, setOwner, parseMode(global.mode))
    const sorted = [...lines].sort((a, b) => pathOfLine(a).compare(pathOfLine(b)))
    for (const line of sorted) {
      const path = Buffer.concat([root, Buffer.from('/'), pathOfLine(line)])
      const location = line.type === 'tablespace' ? target.locations.get(line.oid) : undefined
      if (location === undefined) {
        await mkdir(path)
        await settle(path, line, setOwner, parseMode(line.mode))
      } else {
        await mkdir(location, { recursive: true })
        await settle(Buffer.from(location), line, setOwner, parseMode(line.mode))
        await symlink(location, path)
      }
    }
  } catch (cause) {
    if (cause instanceof ToolError) throw cause
    throw new ToolError('file-system', `could not make the directories of "${target.directory}": ${reasonOf(cause)}`, {
      cause,
    })
  }
}

/** PGDATA must be exactly u=rwx or u=rwx,g=rx, whatever the umask (R3). */
async function settle(
  path: Buffer,
  line: { uid: number; gid: number },
  setOwner: boolean,
  mode: number,
): Promise<void> {
  if (setOwner) await chown(path, line.uid, line.gid)
  await chmod(path, mode)
}

/** Takes the marker away: the restore is whole but for the name of pg_control. */
export async function removeMarker(target: RestoreTarget): Promise<void> {
  await rm(join(target.directory, MARKER))
}

/** Puts everything back as it was: an empty directory, or none (a failed restore leaves nothing to trip over). */
export async function undoRestore(target: RestoreTarget, versionDirectory: string): Promise<void> {
  for (const location of target.locations.values()) {
    await rm(join(location, versionDirectory), { recursive: true, force: true })
  }
  await removeContents(target)
  if (target.created) await rmdir(target.directory)
}

async function removeContents(target: RestoreTarget): Promise<void> {
  for (const name of await readdir(target.directory, { encoding: 'buffer' })) {
    // the marker goes last, so that an undo that is itself killed is recognised
    if (name.toString() !== MARKER)
      await rm(Buffer.concat([Buffer.from(`${target.directory}/`), name]), { recursive: true })
  }
  await rm(join(target.directory, MARKER), { force: true })
}
