/**
 * `restore --config-dir`: configuration files that lay outside the data directory, into a directory that is empty or not
 * there yet. They are read and compared with their hashes before anything is written (R2), their bytes stay as they are,
 * and they are written just before pg_control gets its name: a restore that was killed earlier has left none.
 */
import { constants, type Stats } from 'node:fs'
import { mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, relative, resolve } from 'node:path'
import { checkRelativePath } from '../archive/safe-path.js'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { parseMode } from '../repository/files-index.js'
import { basePrefix, CONFIG_FOLDER } from '../repository/layout.js'
import type { ConfigurationSetting, ObjectLine } from '../repository/objects-index.js'
import { readProven } from '../repository/proven-object.js'
import type { Storage } from '../storage/storage.js'
import { syncDirectory, writeFileDurably } from '../streams/write-file-durably.js'
import type { RestoreTarget } from './restore-target.js'

/** A configuration file, before it is written. */
export interface PlannedConfigurationFile {
  /** Where it is written, absolute. */
  place: string
  /** Where it lay on the host of the backup; undefined where the backup does not say. */
  path: string | undefined
  setting: ConfigurationSetting | undefined
  mode: number
  bytes: Buffer
}

/** What is written, and by the end what was: {@link undoConfiguration} takes back no more than that. */
export interface ConfigurationPlan {
  /** Absolute. */
  directory: string
  files: PlannedConfigurationFile[]
  /** Directories that an include_dir names and that held no file. */
  emptyDirectories: string[]
  written: string[]
  made: string[]
}

/** Files that lay neither beside nor below the main one go below this, with all of their path. */
const OUTSIDE = 'outside'

/** Checks the directory, and reads what will go into it. Throws ToolError `refused`, `usage` or `damaged`. */
export async function planConfiguration(
  storage: Storage,
  record: BackupRecord,
  lines: readonly ObjectLine[],
  { target, configDirectory }: { target: RestoreTarget; configDirectory: string },
  signal: AbortSignal,
): Promise<ConfigurationPlan> {
  const directory = resolve(configDirectory)
  if (lines.length === 0) {
    throw new ToolError('usage', `backup "${record.id}" has no configuration files beside its data directory`, {
      hint: 'They are in the data directory, and come with it: leave out --config-dir.',
    })
  }
  await checkDirectory(directory, target)
  const prefix = basePrefix(record.cluster, record.id)
  const places = placesOf(lines, prefix)
  const files: PlannedConfigurationFile[] = []
  for (const [line, way] of places) {
    const { name, sha256, path, setting, mode = '0600' } = line
    const bytes = await readProven(storage, prefix + name, sha256, signal)
    files.push({ place: join(directory, way), path, setting, mode: parseMode(mode), bytes })
  }
  return { directory, files, emptyDirectories: [], written: [], made: [] }
}

async function checkDirectory(directory: string, target: RestoreTarget): Promise<void> {
  for (const other of [target.directory, ...target.locations.values()]) {
    if (!isWithin(directory, other) && !isWithin(other, directory)) continue
    throw new ToolError('usage', `the configuration directory "${directory}" and "${other}" must not hold one another`)
  }
  const entries = await readdir(directory).catch((cause: unknown) => {
    if (systemErrorCode(cause) === 'ENOENT') return []
    throw new ToolError('file-system', `could not look into "${directory}": ${reasonOf(cause)}`, { cause })
  })
  if (entries.length === 0) return
  throw new ToolError('refused', `the configuration directory "${directory}" is not empty`, {
    hint: 'Name an empty directory, or one that does not exist yet; nothing is overwritten.',
  })
}

function isWithin(path: string, directory: string): boolean {
  const way = relative(directory, path)
  return way === '' || (way !== '..' && !way.startsWith('../'))
}

/** Where each file goes within the directory: as it lay to the main one, so that relative includes still lead to it. */
function placesOf(lines: readonly ObjectLine[], prefix: string): Map<ObjectLine, string> {
  const named = (setting: ConfigurationSetting): string | undefined =>
    lines.find((line) => line.setting === setting)?.path
  const main = named('config_file') ?? named('hba_file') ?? named('ident_file') ?? lines[0]?.path
  const places = new Map<ObjectLine, string>()
  for (const line of lines) {
    const key = prefix + line.name
    const { path } = line
    if (path !== undefined && !isAbsolute(path))
      throw new ToolError('damaged', `"${key}" says that it lay at ${JSON.stringify(path)}, which is no absolute path`)
    // an older backup has the names alone
    let way = line.name.slice(CONFIG_FOLDER.length)
    if (path !== undefined && main !== undefined)
      way = isWithin(path, dirname(main)) ? relative(dirname(main), path) : join(OUTSIDE, path)
    // join() and relative() resolve what climbs out; as it was written it must not either (R4)
    checkRelativePath(path === undefined ? way : path.slice(1), key)
    checkRelativePath(way, key)
    if ([...places.values()].includes(way))
      throw new ToolError('damaged', `"${key}" goes to "${way}", and so does another file of this backup`)
    places.set(line, way)
  }
  return places
}

/** Writes all of it durably (R8), for the owner of the data directory where we are root. */
export async function writeConfiguration(plan: ConfigurationPlan, target: RestoreTarget): Promise<void> {
  const owner = process.getuid?.() === 0 ? await stat(target.directory) : undefined
  try {
    // above it as everybody makes directories; in it as private as the files are
    const first = await mkdir(plan.directory, { recursive: true, mode: 0o755 })
    for (let made = plan.directory; first !== undefined && isWithin(made, first); made = dirname(made))
      plan.made.unshift(made)
    for (const { place, mode, bytes } of plan.files) {
      await makeWithin(plan, dirname(place))
      await writeFileDurably(place, bytes, { mode: 0o600, ifAbsent: true })
      plan.written.push(place)
      await settle(place, mode, owner)
    }
    for (const directory of plan.emptyDirectories) await makeWithin(plan, directory)
    const mode = directoryMode(plan.files)
    for (const made of [...plan.made].reverse()) {
      if (isWithin(made, plan.directory)) await settle(made, mode, owner)
      await syncDirectory(made)
    }
    const [top] = plan.made
    if (top !== undefined) await syncDirectory(dirname(top))
  } catch (cause) {
    if (systemErrorCode(cause) === 'EEXIST') {
      throw new ToolError('refused', `somebody else writes to the configuration directory "${plan.directory}"`, {
        cause,
      })
    }
    throw new ToolError('file-system', `could not write to "${plan.directory}": ${reasonOf(cause)}`, { cause })
  }
}

async function makeWithin(plan: ConfigurationPlan, directory: string): Promise<void> {
  if (directory === plan.directory || plan.made.includes(directory)) return
  await makeWithin(plan, dirname(directory))
  // one that exists is somebody else's, or a link: the directory was empty (R1, R4)
  await mkdir(directory, { mode: 0o700 })
  plan.made.push(directory)
}

/** Who may read a file may go to it; writing is for the owner. */
function directoryMode(files: readonly PlannedConfigurationFile[]): number {
  const readers = files.reduce((all, { mode }) => all | (mode & 0o044), 0)
  return 0o700 | readers | (readers >> 2)
}

/** Whatever the umask (R3), and not through a link. */
async function settle(path: string, mode: number, owner: Stats | undefined): Promise<void> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    if (owner) await file.chown(owner.uid, owner.gid)
    await file.chmod(mode)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Takes away what {@link writeConfiguration} has written, and nothing else. */
export async function undoConfiguration({ written, made }: ConfigurationPlan): Promise<void> {
  for (const path of written) await rm(path, { force: true })
  // one in which somebody has put something meanwhile stays
  for (const directory of [...made].reverse()) await rmdir(directory).catch(() => undefined)
}
