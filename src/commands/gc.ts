/**
 * Remove what interrupted runs have left: base backups without a record, their heartbeats, pins and proofs of backups that
 * are gone, uploads that never ended, objects of probes. What has a name in the repository is announced first and goes a
 * grace period later (format rule 7), in a run that finds it a leftover still.
 */
import type { Settings } from '../config/settings.js'
import { findCluster } from '../repository/clusters.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { basePrefix, clusterPrefix, PROBE_PREFIX } from '../repository/layout.js'
import { findLeftovers } from '../repository/leftovers.js'
import { takeInventory, type RetentionInventory } from '../repository/retention-inventory.js'
import { Retirement } from '../repository/retirement.js'
import { abortUpload, staleUploads, type UnfinishedUpload } from '../storage/stale-uploads.js'
import { storeNow } from '../storage/store-clock.js'
import type { Storage, StoredObject } from '../storage/storage.js'
import { spentAnnouncements, warnOfAnnouncement } from './announcements.js'
import type { CommandContext } from './context.js'
import { Deleter } from './deleter.js'
import { deedResult, type ExpireFolder, type RetentionDeed } from './expire-result.js'
import { isDataHeld } from './held-data.js'
import { openToRead, openToWrite } from './open-repository.js'
import { carryOut, requireGrace, type Retirements } from './retire.js'

/** Options of {@link gc}. */
export interface GcOptions {
  /** Say what would be done, and do nothing. */
  dryRun?: boolean | undefined
}

/** What there was to remove. */
export interface GcResult {
  cluster: string
  dryRun: boolean
  graceSeconds: number
  folders: ExpireFolder[]
  /** Uploads in parts that never ended. They are invisible and nobody can use them, so they go without an announcement. */
  uploads: { key: string; initiated: string }[]
  /** Objects that probes of the store have left. They mean nothing, so they go without an announcement. */
  probes: { key: string }[]
  /** Backups without a record that were left alone. */
  inUse: { id: string; state: 'running' | 'unfinished' }[]
  /** Missing in a dry run. */
  deed?: RetentionDeed & { abortedUploads: number }
}

/** What one run decides with. */
export interface GcRun extends GcOptions {
  graceMs: number
  /** By the store's clock. */
  now: Date
}

/** A push or a check may be at it at this moment, whatever the grace period is. */
const LEAST_AGE_MS = 15 * 60_000

/** Removes the leftovers of one cluster, and those of probes. */
export async function gc(settings: Settings, options: GcOptions, context: CommandContext): Promise<GcResult> {
  const { storage } = await (options.dryRun ? openToRead(settings) : openToWrite(settings, undefined, context.signal))
  try {
    const cluster = await findCluster(storage, settings.cluster, context.signal)
    const now = await storeNow(storage, context.signal)
    return await collectLeftovers(storage, cluster, { ...options, graceMs: settings.graceMs, now }, context)
  } finally {
    storage.close()
  }
}

/** {@link gc} on an open storage. */
export async function collectLeftovers(
  storage: Storage,
  cluster: ClusterIdentity,
  { graceMs, now, dryRun = false }: GcRun,
  context: CommandContext,
): Promise<GcResult> {
  const { signal } = context
  const inventory = await takeInventory(storage, cluster, now, warnOfAnnouncement(context), signal)
  if (!dryRun) requireGrace(graceMs, inventory)
  const before = new Date(now.getTime() - Math.max(graceMs, LEAST_AGE_MS))
  const retirement = new Retirement(inventory.announcements, now, graceMs, cluster.walSegmentSize)
  const found = findLeftovers({ ...inventory, lastStored: await ageOfBases(storage, inventory, signal) })
  const isHeld = isDataHeld(inventory, context)
  const leftovers = found.filter(({ folder }) => folder !== 'base' || !isHeld)
  const retirements: Retirements = {
    by: 'gc',
    backups: [],
    folders: leftovers.map((each) => ({ ...each, ...retirement.ofFolder(each.folder, each.id) })),
    wal: [],
    spent: spentAnnouncements(inventory, retirement),
  }
  const uploads = await oldUploads(storage, cluster, before, signal)
  const probes = await oldProbes(storage, before, signal)
  const result = {
    ...{ cluster: cluster.name, dryRun, graceSeconds: graceMs / 1000 },
    folders: retirements.folders.map(({ folder, id, reason, when }) => ({ folder, id, reason, when })),
    uploads: uploads.map(({ key, initiated }) => ({ key, initiated: initiated.toISOString() })),
    probes: probes.map(({ key }) => ({ key })),
    inUse: inventory.inUse.map(({ id, state }) => ({ id, state })),
  }
  if (dryRun) return result

  for (const upload of uploads) await abortUpload(storage, upload, { signal })
  const deleter = new Deleter(storage, signal)
  for (const probe of probes) await deleter.take(probe)
  await deleter.flush()
  const deed = await carryOut(storage, inventory, retirements, context)
  const deleted = { objects: deed.deleted.objects + deleter.objects, bytes: deed.deleted.bytes + deleter.bytes }
  const failed = [...deleter.failed, ...deed.failed]
  return { ...result, deed: { ...deedResult({ ...deed, deleted, failed }), abortedUploads: uploads.length } }
}

/** The newest object of each base backup that has neither a record nor a heartbeat. */
async function ageOfBases(
  storage: Storage,
  { cluster, folders, recorded, beats }: RetentionInventory,
  signal?: AbortSignal,
): Promise<Map<string, Date>> {
  const ages = new Map<string, Date>()
  for (const id of folders.base) {
    if (recorded.has(id) || beats.has(id)) continue
    for await (const { lastModified } of storage.list(basePrefix(cluster.name, id), { signal }))
      if (lastModified > (ages.get(id) ?? new Date(0))) ages.set(id, lastModified)
  }
  return ages
}

async function oldUploads(
  storage: Storage,
  cluster: ClusterIdentity,
  initiatedBefore: Date,
  signal?: AbortSignal,
): Promise<UnfinishedUpload[]> {
  const uploads: UnfinishedUpload[] = []
  for (const prefix of [clusterPrefix(cluster.name), PROBE_PREFIX])
    for await (const upload of staleUploads(storage, { prefix, initiatedBefore, signal })) uploads.push(upload)
  return uploads
}

async function oldProbes(storage: Storage, before: Date, signal?: AbortSignal): Promise<StoredObject[]> {
  const probes: StoredObject[] = []
  for await (const object of storage.list(PROBE_PREFIX, { signal }))
    if (object.lastModified < before) probes.push(object)
  return probes
}
