/**
 * Where a restore goes: all checks for all targets before the first byte is written (R1), the directories and links,
 * and the way back when the restore fails.
 *
 * A marker lies in the target until the restore is done: a directory that a killed restore left is recognised by the
 * next one, which starts over, and is never taken for a cluster; one in which a restore runs is left alone.
 */
import { existsSync, type Stats } from 'node:fs'
import { chmod, chown, mkdir, readdir, readlink, rm, rmdir, stat, symlink } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { parseMode, pathOfLine, type DirectoryLine, type TablespaceLine } from '../repository/files-index.js'
import { anotherRuns, claim, isRunning, MARKER, readMarker, removeMarker } from './restore-marker.js'
import { checkSpace } from './restore-space.js'

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
  /** A restore that was killed left something, with this text in its marker; undefined where it is none, or empty. */
  abandoned: { marker: string | undefined } | undefined
  /** The marker is ours: until then nothing here may be removed. */
  claimed: boolean
  /** Tablespaces in whose location the directory of this cluster was made by us. */
  made: Set<number>
  /** Directories above, which hold new names; whether we made them ourselves. */
  parents: Map<string, boolean>
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
  /** Of these, what goes to each tablespace, by its OID. */
  tablespaceBytes: ReadonlyMap<number, number>
}

/** Checks everything and writes nothing. Throws ToolError `refused` or `usage`. */
export async function checkTarget(options: TargetOptions): Promise<RestoreTarget> {
  const directory = resolve(options.targetDirectory)
  const entries = await entriesOf(directory)
  const abandoned = entries && (await findAbandoned(directory, entries))
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
  // what is there of an abandoned restore is free by the time it is needed: how much that is, nobody knows
  if (!abandoned) await checkSpace(bytesByPlace(directory, locations, options))
  const before = new Map<string, Stats | undefined>()
  for (const place of [directory, ...locations.values()]) before.set(place, await statusOf(place))
  const { versionDirectory } = options
  const own = { claimed: false, made: new Set<number>(), parents: new Map<string, boolean>() }
  return { directory, locations, before, versionDirectory, abandoned, ...own }
}

/**
 * What a restore left that was killed: pg_control has no name there. One that ended between that name and the removal
 * of its marker was complete, and may have run as a server since.
 */
async function findAbandoned(directory: string, entries: readonly string[]): Promise<RestoreTarget['abandoned']> {
  if (existsSync(join(directory, 'global/pg_control'))) return undefined
  const marker = await readMarker(directory)
  if (marker !== undefined && (await isRunning(marker))) throw anotherRuns(directory)
  // taken over by a restore that was killed as it did so
  const moved = entries.some((name) => name.startsWith(`${MARKER}.`))
  return marker !== undefined || moved || existsSync(join(directory, UNNAMED_CONTROL)) ? { marker } : undefined
}

function bytesByPlace(
  directory: string,
  locations: ReadonlyMap<number, string>,
  { bytes, tablespaceBytes }: TargetOptions,
): Map<string, number> {
  const places = new Map([...locations].map(([oid, location]) => [location, tablespaceBytes.get(oid) ?? 0]))
  const outside = [...places.values()].reduce((sum, each) => sum + each, 0)
  return places.set(directory, bytes - outside)
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

/** Makes the target directory, its sub-directories and the tablespace links. */
export async function makeDirectories(
  target: RestoreTarget,
  lines: readonly (DirectoryLine | TablespaceLine)[],
  setOwner: boolean,
): Promise<void> {
  const root = Buffer.from(target.directory)
  try {
    await makePath(target, target.directory)
    await claim(target.directory, target.abandoned?.marker)
    target.claimed = true
    // the locations first: what is in them is known for ours by the links
    for (const location of target.locations.values()) await clearLocation(target, location)
    if (target.abandoned) await removeContents(target)
    const global = lines.find((line) => pathOfLine(line).equals(Buffer.from('global')))
    if (global) await settle(root, global, setOwner, parseMode(global.mode))
    const sorted = [...lines].sort((a, b) => pathOfLine(a).compare(pathOfLine(b)))
    for (const line of sorted) {
      const path = Buffer.concat([root, Buffer.from('/'), pathOfLine(line)])
      const location = line.type === 'tablespace' ? target.locations.get(line.oid) : undefined
      if (location === undefined) {
        await mkdir(path)
        const oid = Number(/^pg_tblspc\/(\d+)\/[^/]+$/.exec(pathOfLine(line).toString('latin1'))?.[1])
        if (oid > 0) target.made.add(oid)
        await settle(path, line, setOwner, parseMode(line.mode))
      } else {
        await makePath(target, location)
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

/** Makes a directory with those above it, and remembers these: their new names must become durable too (R8). */
async function makePath({ parents }: RestoreTarget, path: string): Promise<void> {
  const first = (await mkdir(path, { recursive: true })) ?? path
  let parent = path
  do {
    parent = dirname(parent)
    parents.set(parent, parents.get(parent) === true || parent !== dirname(first))
  } while (parent !== dirname(first))
}

/** Makes way in a tablespace location: for what an abandoned restore of ours left, or an empty directory, nothing else. */
async function clearLocation({ abandoned, versionDirectory }: RestoreTarget, location: string): Promise<void> {
  const place = join(location, versionDirectory)
  if (abandoned) return rm(place, { recursive: true, force: true })
  await rmdir(place).catch((error: unknown) => {
    if (systemErrorCode(error) !== 'ENOENT') throw error
  })
}

/** Puts everything back as it was: an empty directory, or none (a failed restore leaves nothing to trip over). */
export async function undoRestore(target: RestoreTarget): Promise<void> {
  const { directory, locations, before, made, parents, claimed, versionDirectory } = target
  if (claimed) {
    for (const oid of made) {
      const location = locations.get(oid)
      if (location !== undefined) await rm(join(location, versionDirectory), { recursive: true, force: true })
    }
    if (existsSync(directory)) await removeContents(target)
    await removeMarker(directory)
    for (const [place, status] of before) {
      if (!existsSync(place)) continue
      if (status === undefined) await rmdir(place)
      else await settle(Buffer.from(place), status, process.getuid?.() === 0, status.mode & 0o7777)
    }
  } else if (before.get(directory) === undefined) {
    await rmdir(directory).catch(() => undefined) // not empty: the other restore's
  }
  const ours = [...parents].flatMap(([path, isOurs]) => (isOurs ? [path] : []))
  // from the deepest up; one in which somebody has put something meanwhile stays
  for (const path of ours.sort((a, b) => b.length - a.length)) await rmdir(path).catch(() => undefined)
}

/** The marker stays, and goes last, so that an undo that is itself killed is recognised. */
async function removeContents(target: RestoreTarget): Promise<void> {
  for (const name of await readdir(target.directory, { encoding: 'buffer' })) {
    if (name.toString() !== MARKER)
      await rm(Buffer.concat([Buffer.from(`${target.directory}/`), name]), { recursive: true })
  }
}
