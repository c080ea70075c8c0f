/**
 * The small files of a restored cluster: backup label, tablespace map, PostgreSQL's manifest, and the settings with which
 * it recovers. Each was compared with its hash in the index before it counts (format rule 3).
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import type { ConfigurationFiles } from '../postgres/configuration-file.js'
import { applyToAutoConf, recoverySettings } from '../postgres/recovery-settings.js'
import type { RecoveryTarget, TargetTimeline } from '../postgres/recovery-target.js'
import { formatTablespaceMap, parseTablespaceMap } from '../postgres/tablespace-map.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { checkHash, hashedObject } from '../repository/hashed-object.js'
import { BACKUP_LABEL, BACKUP_MANIFEST, basePrefix, TABLESPACE_MAP } from '../repository/layout.js'
import { readProven } from '../repository/proven-object.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { isolation } from './restore-isolation.js'
import type { RestorePlan } from './restore-plan.js'
import type { RestoreTarget } from './restore-target.js'

/** As the default of writeFile(), but never through a link that somebody has planted (R4). */
const FLAG = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW

interface Owner {
  uid: number
  gid: number
}

/** How the restored server is to come up. */
export interface RecoveryChoice {
  /** restore_command */
  command: string
  target: RecoveryTarget
  targetTimeline: TargetTimeline
  action: 'pause' | 'promote' | 'shutdown'
  standby: boolean
  primaryConninfo: string | undefined
  isolated: boolean
  /** The configuration that is restored beside the data directory: its main file, and how all of it is read. */
  external: { main: string; files: ConfigurationFiles } | undefined
  archiveMode: 'off' | 'preserve'
  /** Give the files to the owner of the target directory, which is the recorded one by now (only root can). */
  setOwner: boolean
}

/** Writes them all into the target directory. */
export async function writeSmallFiles(
  storage: Storage,
  record: BackupRecord,
  plan: RestorePlan,
  target: RestoreTarget,
  choice: RecoveryChoice,
  context: CommandContext,
): Promise<void> {
  const { signal } = context
  const prefix = basePrefix(record.cluster, record.id)
  const major = Math.floor(record.postgresVersion / 10_000)
  const place = (name: string): string => join(target.directory, name)
  const owner = choice.setOwner ? await ownerOf(target.directory) : undefined
  const write = (name: string, content: Uint8Array): Promise<void> => writeOwned(place(name), content, owner)
  const proven = (name: string): Promise<Buffer> => readProven(storage, prefix + name, plan.hashes.get(name), signal)
  await write(BACKUP_LABEL, await proven(BACKUP_LABEL)) // byte for byte (R10)
  let mapped: Buffer = Buffer.alloc(0)
  // a tablespace made just after the start is in the record, and no map was returned for it (S9)
  if (plan.hashes.has(TABLESPACE_MAP)) mapped = relocated(await proven(TABLESPACE_MAP), target.locations, major)
  // no entries, no file (E3)
  if (mapped.length > 0) await write(TABLESPACE_MAP, mapped)
  warnOfReplayedTablespaces(record, parseTablespaceMap(mapped, major), target, context)
  await copyManifest(storage, prefix, place(BACKUP_MANIFEST), plan, owner, signal)
  // bytes as latin1: what is not ours stays as it is, whatever its encoding
  const existing = await readFile(place('postgresql.auto.conf'), 'latin1').catch((cause: unknown) => {
    if (systemErrorCode(cause) === 'ENOENT') return ''
    throw new ToolError('file-system', `could not read "${place('postgresql.auto.conf')}": ${reasonOf(cause)}`, {
      cause,
    })
  })
  const settings = recoverySettings({
    ...choice,
    restoreCommand: latin1(choice.command),
    primaryConninfo: choice.primaryConninfo === undefined ? undefined : latin1(choice.primaryConninfo),
    target: choice.target.kind === 'name' ? { kind: 'name', name: latin1(choice.target.name) } : choice.target,
    isolated: choice.isolated ? await isolation(target.directory, existing, choice.external, context) : undefined,
    majorVersion: major,
  })
  // recovery PANICs at a directory in pg_tblspc that is no link, unless the server is told to expect it (T6)
  if (record.tablespaces.some(({ inPlace }) => inPlace))
    settings.push({ name: 'allow_in_place_tablespaces', value: 'on' })
  await write('postgresql.auto.conf', Buffer.from(applyToAutoConf(existing, settings), 'latin1'))
  await write(choice.standby ? 'standby.signal' : 'recovery.signal', Buffer.alloc(0)) // one of the two (R13)
}

/** The bytes of a text, in the form in which postgresql.auto.conf is held here. */
function latin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/**
 * With the map in place the server makes all links anew by it: it must say where they are now (T3). One that was dropped
 * before the backup got to it has no place here, and its old one may be production's: WAL drops it again.
 */
function relocated(map: Buffer, locations: ReadonlyMap<number, string>, major: number): Buffer {
  const entries = parseTablespaceMap(map, major)
  const moved = entries.some(({ oid, location }) => locations.get(oid) !== location.toString())
  if (!moved) return map
  const changed = entries.flatMap(({ oid }) => {
    const location = locations.get(oid)
    return location === undefined ? [] : [{ oid, location: Buffer.from(location) }]
  })
  return formatTablespaceMap(changed, major)
}

/** A tablespace that is not in the map was made after the start: its link is kept, until WAL makes it once more (T9). */
function warnOfReplayedTablespaces(
  record: BackupRecord,
  map: readonly { oid: number }[],
  target: RestoreTarget,
  context: CommandContext,
): void {
  for (const { oid, location } of record.tablespaces) {
    if (!target.locations.has(oid) || map.some((entry) => entry.oid === oid)) continue
    context.report({
      type: 'warning',
      message: `the tablespace ${oid} was created after the backup began: recovery creates it at "${location}", wherever it was restored to`,
      hint: `That directory must exist on this host, and must not be in use by the source of the backup.`,
    })
  }
}

async function writeOwned(
  path: string,
  content: Uint8Array | string | AsyncIterable<Buffer>,
  owner: Owner | undefined,
): Promise<void> {
  try {
    await writeFile(path, content, { mode: 0o600, flag: FLAG })
  } catch (cause) {
    if (!(cause instanceof Error && 'syscall' in cause)) throw cause
    throw new ToolError('file-system', `could not write "${path}": ${reasonOf(cause)}`, { cause })
  }
  if (!owner) return
  try {
    const file = await open(path, 'r')
    try {
      await file.chown(owner.uid, owner.gid)
    } finally {
      await file.close()
    }
  } catch (cause) {
    throw new ToolError('file-system', `could not give "${path}" to its owner: ${reasonOf(cause)}`, { cause })
  }
}

async function ownerOf(directory: string): Promise<Owner> {
  return stat(directory).catch((cause: unknown) => {
    throw new ToolError('file-system', `could not look at "${directory}": ${reasonOf(cause)}`, { cause })
  })
}

/** The manifest grows with the number of files, so it passes through. */
async function copyManifest(
  storage: Storage,
  prefix: string,
  path: string,
  plan: RestorePlan,
  owner: Owner | undefined,
  signal: AbortSignal,
): Promise<void> {
  const key = prefix + BACKUP_MANIFEST
  const hash = createHash('sha256')
  await writeOwned(path, hashedObject(storage, key, hash, signal), owner)
  checkHash(key, plan.hashes.get(BACKUP_MANIFEST), hash)
}
