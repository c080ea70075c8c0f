/**
 * Where a restore goes: all checks for all targets before the first byte is written (R1), the directories and links,
 * and the way back when the restore fails.
 *
 * A marker lies in the target until the restore is done: a directory that a killed restore left is recognised by the
 * next one, which starts over, and is never taken for a cluster.
 */
import { existsSync, type Stats } from 'node:fs'
import { chmod, chown, mkdir, readdir, readlink, rm, rmdir, stat, statfs, symlink, writeFile } from 'node:fs/promises'
import { isAbsolute, join, relative, resolve } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { parseMode, pathOfLine, type DirectoryLine, type TablespaceLine } from '../repository/files-index.js'

/** Name of the marker. */
const MARKER = 'pgsluice.restore-in-progress'
/** Name of pg_control until everything else is durable. */
export const UNNAMED_CONTROL = 'global/pg_control.pgsluice-restore'

/** What a restore writes to. */
export interface RestoreTarget {
  /** Absolute. */
  directory: string
  /** Location of each tablespace that lives outside, by OID. */
  locations: Map<number, string>
  /** What the target directory and the locations were before; undefined where there was none. */
  before: Map<string, Stats | undefined>
  /** `PG_<major>_<catalog version>`: the directory of this cluster within a location. */
  versionDirectory: string
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
  const abandoned = entries !== undefined && isAbandoned(directory, entries)
  if (entries && entries.length > 0 && !abandoned) {
    const running = entries.includes('postmaster.pid') ? ', and a server may be running in it' : ''
    throw new ToolError('refused', `the target directory "${directory}" is not empty${running}`, {
      hint: 'Restore into an empty directory, or one that does not exist yet.',
    })
  }
  const locations = mapLocations(directory, options)
  for (const [oid, location] of locations) {
    const inside = await entriesOf(join(location, options.versionDirectory))
    // what an abandoned restore wrote there is what it had linked to: anything else is somebody's data
    const ours = abandoned && (await readlink(join(directory, `pg_tblspc/${oid}`)).catch(() => '')) === location
    if (inside && inside.length > 0 && !ours) {
      throw new ToolError('refused', `the tablespace location "${location}" holds files of a cluster of this version`, {
        hint: 'Give it another place with --tablespace-mapping OLD=NEW.',
      })
    }
  }
  await checkSpace(directory, options.bytes)
  const before = new Map<string, Stats | undefined>()
  for (const place of [directory, ...locations.values()]) before.set(place, await statusOf(place))
  return { directory, locations, before, versionDirectory: options.versionDirectory }
}

/** The marker goes before pg_control has its name: a restore that was killed in between is known by that. */
function isAbandoned(directory: string, entries: readonly string[]): boolean {
  if (entries.includes(MARKER)) return true
  return existsSync(join(directory, UNNAMED_CONTROL)) && !existsSync(join(directory, 'global/pg_control'))
}

async function statusOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw new ToolError('file-system', `could not look at "${path}": ${reasonOf(error)}`, { cause: error })
  })
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
    await removeFromLocations(target)
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
export async function undoRestore(target: RestoreTarget): Promise<void> {
  await removeFromLocations(target)
  if (existsSync(target.directory)) await removeContents(target)
  for (const [place, before] of target.before) {
    if (!existsSync(place)) continue
    if (before === undefined) await rmdir(place)
    else await settle(Buffer.from(place), before, process.getuid?.() === 0, before.mode & 0o7777)
  }
}

async function removeFromLocations({ locations, versionDirectory }: RestoreTarget): Promise<void> {
  for (const location of locations.values())
    await rm(join(location, versionDirectory), { recursive: true, force: true })
}

async function removeContents(target: RestoreTarget): Promise<void> {
  for (const name of await readdir(target.directory, { encoding: 'buffer' })) {
    // the marker goes last, so that an undo that is itself killed is recognised
    if (name.toString() !== MARKER)
      await rm(Buffer.concat([Buffer.from(`${target.directory}/`), name]), { recursive: true })
  }
  await rm(join(target.directory, MARKER), { force: true })
}
