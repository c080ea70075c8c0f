/**
 * The deed of `expire` and `gc`: announce, retract, delete (format rules 2 and 7). Each step can be the last of a run that
 * was killed; the next run goes on from what it finds. Two runs at once delete the same, and neither minds.
 */
import { ToolError } from '../errors.js'
import { backupFolderPrefix, backupRecordKey } from '../repository/layout.js'
import type { RetentionInventory } from '../repository/retention-inventory.js'
import { announce, type BackupFolder, type Retired } from '../repository/retired.js'
import type { When } from '../repository/retirement.js'
import { listWalFiles } from '../repository/wal-map.js'
import type { WalNeeds } from '../repository/wal-needs.js'
import type { WalStretch } from '../repository/wal-survey.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { Deleter } from './deleter.js'

/** A folder that goes. */
export interface RetiredFolder extends When {
  folder: BackupFolder
  id: string
  reason: string
}

/** Everything that goes in this run, or is announced in it. */
export interface Retirements {
  by: 'expire' | 'gc'
  /** Records that go now. */
  backups: { id: string; reason: string; isAnnounced: boolean }[]
  folders: RetiredFolder[]
  /** Only what has expired. */
  wal: WalStretch[]
  /** What is needed, once it is known which records could not be deleted; `gc` deletes no WAL. */
  replan?: Replan
  /** Keys of announcements that say nothing any more. */
  spent: string[]
}

/** What a run has done. */
export interface Deed {
  /** Key of what it announced, if there was something to announce. */
  announcement?: string
  deleted: { objects: number; bytes: number }
  /** What the store would not let go. */
  failed: { key: string; reason: string }[]
}

/** What WAL is needed once these backups could not be deleted, which are listed therefore and must be restorable. */
export type Replan = (stuck: ReadonlyMap<string, string>) => WalNeeds

/** Refuses to go without grace while a backup runs: there is no time in which it could read what was announced (D6). */
export function requireGrace(graceMs: number, { inUse }: RetentionInventory): void {
  const running = inUse.find(({ state }) => state === 'running')
  if (graceMs > 0 || !running) return
  throw new ToolError('refused', `backup ${running.id} is in progress, and there is no grace period`, {
    hint: 'Wait for its end, or leave --grace away.',
  })
}

/** Carries it out. */
export async function carryOut(
  storage: Storage,
  inventory: RetentionInventory,
  retirements: Retirements,
  { report, signal }: CommandContext,
): Promise<Deed> {
  const { cluster } = inventory
  const deleter = new Deleter(storage, signal)
  const announced = newOnes(retirements, inventory.now)
  const announcement = announced && (await announce(storage, cluster.name, announced, signal))
  if (announcement !== undefined) report({ type: 'step', message: `announced in ${announcement}` })

  // the record first: from here on nobody is told that the backup exists (format rule 2)
  const records = retirements.backups.map(({ id }) => ({ id, key: backupRecordKey(cluster.name, id) }))
  for (const { key } of records) deleter.add(key)
  await deleter.flush()
  const stuck = new Map(
    records.flatMap(({ id, key }) => {
      const reason = deleter.failed.find((each) => each.key === key)?.reason
      return reason === undefined ? [] : [[id, `its record could not be deleted: ${reason}`] as const]
    }),
  )
  if (records.length > stuck.size)
    report({ type: 'step', message: `deleted ${records.length - stuck.size} backup records` })

  const needs = retirements.replan?.(stuck)
  for (const { timeline, firstNumber: from, lastNumber: to, when } of retirements.wal) {
    if (when?.when !== 'now') continue
    for await (const { number, object } of listWalFiles(storage, cluster, timeline, { from, to, signal }))
      if (needs?.useOf(timeline, number) === 'expired') await deleter.take(object)
  }
  for (const { folder, id, when } of retirements.folders) {
    if (when !== 'now' || stuck.has(id)) continue
    // all but heartbeats is of use to a backup that was finalized since the inventory was taken
    if (folder !== 'running' && (await storage.head(backupRecordKey(cluster.name, id), { signal }))) continue
    for await (const object of storage.list(backupFolderPrefix(cluster.name, folder, id), { signal }))
      await deleter.take(object)
  }
  for (const key of retirements.spent) deleter.add(key)
  await deleter.flush()
  const { objects, bytes, failed } = deleter
  return { ...(announcement !== undefined && { announcement }), deleted: { objects, bytes }, failed: [...failed] }
}

/** What nobody has announced yet; undefined where that is nothing. */
function newOnes({ by, backups, folders, wal }: Retirements, now: Date): Retired | undefined {
  const newBackups = backups.filter(({ isAnnounced }) => !isAnnounced).map(({ id, reason }) => ({ id, reason }))
  const named = new Set(newBackups.map(({ id }) => id))
  const newFolders = folders
    .filter(({ isAnnounced, id }) => !isAnnounced && !named.has(id))
    .map(({ folder, id, reason }) => ({ folder, id, reason }))
  const newWal = wal
    .filter(({ when }) => when && !when.isAnnounced)
    .map(({ timeline, first, last }) => ({ timeline, first, last }))
  if (newBackups.length + newFolders.length + newWal.length === 0) return undefined
  return { by, time: now.toISOString(), backups: newBackups, folders: newFolders, wal: newWal }
}
