/**
 * The small files of a restored cluster: backup label, tablespace map, PostgreSQL's manifest, and the settings with which
 * it recovers. Each was compared with its hash in the index before it counts (format rule 3).
 */
import { createHash, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { applyToAutoConf, recoverySettings } from '../postgres/recovery-settings.js'
import { formatTablespaceMap, parseTablespaceMap } from '../postgres/tablespace-map.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { readSmall } from '../repository/document.js'
import { BACKUP_LABEL, BACKUP_MANIFEST, basePrefix, CONFIG_FOLDER, TABLESPACE_MAP } from '../repository/layout.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
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
  archiveMode: 'off' | 'preserve'
  /** Give the files to the owner of the target directory (only root can). */
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
  const owner = choice.setOwner ? await stat(target.directory) : undefined
  const write = (name: string, content: Uint8Array): Promise<void> => writeOwned(place(name), content, owner)
  const proven = (name: string): Promise<Buffer> => readProven(storage, prefix, name, plan, signal)
  await write(BACKUP_LABEL, await proven(BACKUP_LABEL)) // byte for byte (R10)
  if (target.locations.size > 0) {
    await write(TABLESPACE_MAP, relocated(await proven(TABLESPACE_MAP), target.locations, major))
  }
  await copyManifest(storage, prefix, place(BACKUP_MANIFEST), plan, owner, signal)
  // bytes as latin1: what is not ours stays as it is, whatever its encoding
  const existing = await readFile(place('postgresql.auto.conf'), 'latin1').catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return ''
    throw error
  })
  const settings = recoverySettings({
    restoreCommand: Buffer.from(choice.command).toString('latin1'),
    targetTimeline: 'latest',
    archiveMode: choice.archiveMode,
    majorVersion: major,
  })
  // recovery PANICs at a directory in pg_tblspc that is no link, unless the server is told to expect it (T6)
  if (record.tablespaces.some(({ inPlace }) => inPlace))
    settings.push({ name: 'allow_in_place_tablespaces', value: 'on' })
  await write('postgresql.auto.conf', Buffer.from(applyToAutoConf(existing, settings), 'latin1'))
  await write('recovery.signal', Buffer.alloc(0))
  await warnOfForeignConfiguration(storage, prefix, target, context)
}

/** With the map in place the server makes all links anew by it: it must say where they are now (T3). */
function relocated(map: Buffer, locations: ReadonlyMap<number, string>, major: number): Buffer {
  const entries = parseTablespaceMap(map, major)
  const moved = entries.some(({ oid, location }) => locations.get(oid) !== location.toString())
  if (!moved) return map
  const changed = entries.map(({ oid, location }) => ({ oid, location: Buffer.from(locations.get(oid) ?? location) }))
  return formatTablespaceMap(changed, major)
}

/** A server configured outside PGDATA does not start from it alone (W8). */
async function warnOfForeignConfiguration(
  storage: Storage,
  prefix: string,
  target: RestoreTarget,
  context: CommandContext,
): Promise<void> {
  const keys: string[] = []
  for await (const { key } of storage.list(prefix + CONFIG_FOLDER, { signal: context.signal })) keys.push(key)
  if (keys.length === 0) return
  context.report({
    type: 'warning',
    message: `the configuration of this cluster lived outside its data directory "${target.directory}"`,
    hint: `Copies are in the repository: ${keys.join(', ')}.`,
  })
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
  const file = await open(path, 'r')
  try {
    await file.chown(owner.uid, owner.gid)
  } finally {
    await file.close()
  }
}

/** A small object of the backup, compared with its hash in the index (format rule 3). */
async function readProven(
  storage: Storage,
  prefix: string,
  name: string,
  plan: RestorePlan,
  signal: AbortSignal,
): Promise<Buffer> {
  const bytes = await readSmall(storage, prefix + name, signal)
  checkHash(prefix + name, plan.hashes.get(name), createHash('sha256').update(bytes))
  return bytes
}

function checkHash(key: string, expected: string | undefined, hash: Hash): void {
  if (hash.digest('hex') !== expected)
    throw new ToolError('damaged', `"${key}" is damaged: its SHA-256 is not the recorded one`)
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
  const body = await storage.get(key, { signal })
  async function* hashed(): AsyncGenerator<Buffer> {
    for await (const chunk of body) {
      hash.update(chunk as Buffer)
      yield chunk as Buffer
    }
  }
  await writeOwned(path, hashed(), owner)
  checkHash(key, plan.hashes.get(BACKUP_MANIFEST), hash)
}
