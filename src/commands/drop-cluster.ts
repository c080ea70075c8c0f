/**
 * Remove a whole old cluster (A14: after pg_upgrade, or for good): records first, so that nothing half deleted is ever
 * listed, cluster.json last, so that a run that was killed can be repeated.
 */
import type { Settings } from '../config/settings.js'
import { NotFoundError, ToolError } from '../errors.js'
import { readIdentity } from '../repository/identity.js'
import { backupRecordPrefix, clusterKey, clusterPrefix, parseClusterName, retiredPrefix } from '../repository/layout.js'
import { announce } from '../repository/retired.js'
import { takeInventory, type RetentionInventory } from '../repository/retention-inventory.js'
import { storeNow } from '../storage/store-clock.js'
import type { Storage } from '../storage/storage.js'
import { warnOfAnnouncement } from './announcements.js'
import type { CommandContext } from './context.js'
import { Deleter } from './deleter.js'
import { deedResult, type RetentionDeed } from './expire-result.js'
import { openToRead, openToWrite } from './open-repository.js'

/** Options of {@link dropCluster}. */
export interface DropClusterOptions {
  dryRun?: boolean | undefined
  /** Nobody is asked: without it only a dry run is allowed. */
  yes?: boolean | undefined
  /** Also where it is still in use, or pinned. */
  force?: boolean | undefined
}

/** What there was. */
export interface DropClusterResult {
  cluster: string
  dryRun: boolean
  backups: string[]
  objects: number
  bytes: number
  /** What speaks against it; refused without force. */
  objections: string[]
  /** Missing in a dry run. */
  deed?: RetentionDeed
}

/** A server whose WAL came within this time is alive. */
const ALIVE_MS = 86_400_000

/** Removes the cluster of that full name. Throws ToolError `refused` where it is in use, pinned, or not confirmed. */
export async function dropCluster(
  settings: Settings,
  name: string,
  options: DropClusterOptions,
  context: CommandContext,
): Promise<DropClusterResult> {
  if (!parseClusterName(name)) {
    throw new ToolError('usage', `"${name}" is no full name of a cluster`, {
      hint: 'It has the form pg18-7412345678901234567: see "pgsluice list".',
    })
  }
  const { storage } = await (options.dryRun ? openToRead(settings) : openToWrite(settings, undefined, context.signal))
  try {
    return await dropFrom(storage, name, { ...options, now: await storeNow(storage, context.signal) }, context)
  } finally {
    storage.close()
  }
}

/** {@link dropCluster} on an open storage; `now` is by the store's clock. */
export async function dropFrom(
  storage: Storage,
  name: string,
  { dryRun = false, yes = false, force = false, now }: DropClusterOptions & { now: Date },
  context: CommandContext,
): Promise<DropClusterResult> {
  const { signal } = context
  const cluster = await readIdentity(storage, name, signal).catch((error: unknown) => {
    if (error instanceof NotFoundError)
      throw new ToolError('usage', `no cluster "${name}" is stored in "${storage.url}"`, { cause: error })
    throw error
  })
  const inventory = await takeInventory(storage, cluster, now, warnOfAnnouncement(context), signal)
  const objections = objectionsOf(inventory)
  const total = await sizeOf(storage, name, signal)
  const result = { cluster: name, dryRun, backups: [...inventory.recorded].sort(), ...total, objections }
  if (dryRun) return result
  if (objections.length > 0 && !force) {
    throw new ToolError('refused', `cluster "${name}" is not dropped: ${objections.join('; ')}`, {
      hint: 'Say --force if it is to go all the same.',
    })
  }
  if (!yes) {
    throw new ToolError('refused', `cluster "${name}" is not dropped: nobody has confirmed it`, {
      hint: `Say --yes to delete ${total.objects} objects with ${inventory.recorded.size} backups for good.`,
    })
  }
  // a backup that runs all the same reads it before its commit, and later finds that cluster.json is gone (D6)
  const nothing = { backups: [], folders: [], wal: [] }
  const retired = { by: 'drop-cluster' as const, time: now.toISOString(), ...nothing, wholeCluster: true as const }
  const announcement = await announce(storage, name, retired, signal)
  const deleter = new Deleter(storage, signal)
  const drop = async (prefix: string, isWanted: (key: string) => boolean): Promise<void> => {
    for await (const object of storage.list(prefix, { signal })) if (isWanted(object.key)) await deleter.take(object)
    await deleter.flush()
  }
  const isLater = (key: string): boolean => key === clusterKey(name) || key.startsWith(retiredPrefix(name))
  const steps: [prefix: string, isWanted: (key: string) => boolean][] = [
    [backupRecordPrefix(name), () => true],
    [clusterPrefix(name), (key) => !isLater(key)],
    [retiredPrefix(name), () => true],
    [clusterKey(name), () => true],
  ]
  for (const [prefix, isWanted] of steps) {
    // what a record names must stay while the record does, and what says whose it is while there is anything
    if (deleter.failed.length === 0) await drop(prefix, isWanted)
  }
  const { objects, bytes, failed } = deleter
  return { ...result, deed: deedResult({ announcement, deleted: { objects, bytes }, failed }) }
}

function objectionsOf({ inUse, pinned, heads, now, unreadable }: RetentionInventory): string[] {
  return [
    ...inUse.map(({ id, state }) => `backup ${id} is ${state === 'running' ? 'in progress' : 'to be finalized'}`),
    ...[...pinned].map((id) => `backup ${id} is pinned`),
    ...unreadable.map(({ id }) => `the record of backup ${id} cannot be read`),
    ...heads.flatMap(({ timeline, lastStored }) =>
      lastStored && now.getTime() - lastStored.getTime() < ALIVE_MS
        ? [`WAL of timeline ${timeline} was archived at ${lastStored.toISOString()}`]
        : [],
    ),
  ]
}

async function sizeOf(
  storage: Storage,
  cluster: string,
  signal?: AbortSignal,
): Promise<{ objects: number; bytes: number }> {
  const total = { objects: 0, bytes: 0 }
  for await (const { size } of storage.list(clusterPrefix(cluster), { signal })) {
    total.objects++
    total.bytes += size
  }
  return total
}
