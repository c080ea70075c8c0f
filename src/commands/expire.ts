/**
 * Apply retention: look, plan, and (unless it is a dry run) announce what expires, delete what was announced long enough
 * ago. The plan is made once, printed by the dry run, and carried out as it is (D7).
 */
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { findCluster } from '../repository/clusters.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { BACKUP_FOLDERS } from '../repository/retired.js'
import { retentionInput, takeInventory, type RetentionInventory } from '../repository/retention-inventory.js'
import type { RetentionPolicy } from '../repository/retention-policy.js'
import { planRetention, type RetentionPlan } from '../repository/retention.js'
import { Retirement } from '../repository/retirement.js'
import { surveyWal, type WalStretch } from '../repository/wal-survey.js'
import { storeNow } from '../storage/store-clock.js'
import type { Storage } from '../storage/storage.js'
import { spentAnnouncements, warnOfAnnouncement } from './announcements.js'
import type { CommandContext } from './context.js'
import { expireResult, type ExpireResult, type ExpireRun } from './expire-result.js'
import { isDataHeld } from './held-data.js'
import { openToRead, openToWrite } from './open-repository.js'
import { carryOut, requireGrace, type RetiredFolder, type Retirements } from './retire.js'

/** Options of {@link expire}. */
export interface ExpireOptions {
  /** Say what would be done, and do nothing. */
  dryRun?: boolean | undefined
}

/** Applies the retention that the settings say. Throws ToolError `usage` where they say none. */
export async function expire(
  settings: Settings,
  options: ExpireOptions,
  context: CommandContext,
): Promise<ExpireResult> {
  const { retention: policy, graceMs } = settings
  requirePolicy(policy)
  const { storage } = await (options.dryRun ? openToRead(settings) : openToWrite(settings, undefined, context.signal))
  try {
    const cluster = await findCluster(storage, settings.cluster, context.signal)
    const now = await storeNow(storage, context.signal)
    return await expireCluster(storage, cluster, { ...options, policy, graceMs, now }, context)
  } finally {
    storage.close()
  }
}

/** {@link expire} on an open storage. */
export async function expireCluster(
  storage: Storage,
  cluster: ClusterIdentity,
  run: ExpireRun,
  context: CommandContext,
): Promise<ExpireResult> {
  const { policy, graceMs, now, dryRun = false } = run
  const inventory = await takeInventory(storage, cluster, now, warnOfAnnouncement(context), context.signal)
  if (!dryRun) requireGrace(graceMs, inventory)
  const planFor = (stuck: ReadonlyMap<string, string>): RetentionPlan =>
    planRetention(retentionInput(inventory, policy, stuck))
  const plan = planFor(new Map())
  const retirement = new Retirement(inventory.announcements, now, graceMs, cluster.walSegmentSize)
  const wal = await surveyWal(storage, inventory, plan, retirement, context.signal)
  const retirements = retirementsOf(inventory, plan, retirement, wal)
  if (isDataHeld(inventory, context))
    retirements.folders = retirements.folders.filter(({ folder }) => folder !== 'base')
  retirements.replan = (stuck) => planFor(stuck).needs
  const deed = dryRun ? undefined : await carryOut(storage, inventory, retirements, context)
  return expireResult({ inventory, run, plan, wal, retirements, deed })
}

function retirementsOf(
  inventory: RetentionInventory,
  plan: RetentionPlan,
  retirement: Retirement,
  wal: readonly WalStretch[],
): Retirements {
  const backups = plan.backups.flatMap(({ backup: { id }, isKept, reasons }) => {
    const { isAnnounced } = retirement.ofFolder('base', id)
    return isKept ? [] : [{ id, reason: reasons.join(', '), isAnnounced }]
  })
  const reasons = new Map(backups.map(({ id, reason }) => [id, reason]))
  const inUse = new Set(inventory.inUse.map(({ id }) => id))
  const folders = BACKUP_FOLDERS.flatMap((folder) =>
    inventory.folders[folder].flatMap((id): RetiredFolder[] => {
      // of those whose record went in an earlier run, and which nobody takes anew under the same id
      const isRetracted = !inventory.recorded.has(id) && !inUse.has(id)
      const reason = reasons.get(id) ?? (isRetracted ? retirement.reasonOf(id) : undefined)
      return reason === undefined ? [] : [{ folder, id, reason, ...retirement.ofFolder(folder, id) }]
    }),
  )
  return {
    by: 'expire',
    backups,
    folders,
    wal: wal.filter(({ use }) => use === 'expired'),
    spent: spentAnnouncements(inventory, retirement, wal),
  }
}

function requirePolicy(policy: RetentionPolicy): void {
  if (Object.keys(policy).length > 0) return
  throw new ToolError('usage', 'nothing says which backups to keep', {
    hint:
      'Give one or more of --keep-full, --keep-days, --keep-hourly, --keep-daily, --keep-weekly, --keep-monthly, ' +
      '--keep-yearly and --max-size, or set them in pgsluice.yaml.',
  })
}
