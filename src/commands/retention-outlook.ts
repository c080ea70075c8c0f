/** What the next `expire` would do with backups, by the policy that the settings hold. Only told: nothing is announced. */
import type { RetentionSettings } from '../config/retention-settings.js'
import type { BackupRecord } from '../repository/backup-record.js'
import { listBackups } from '../repository/catalog.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { decideBackups } from '../repository/retention-policy.js'
import { historiesByTimeline } from '../repository/retention.js'
import { findHeads, historiesOf, type TimelineHead, type TimelineTree } from '../repository/timeline-tree.js'
import { isUnclean } from '../repository/unclean.js'
import type { Storage } from '../storage/storage.js'
import type { Marks } from './backup-marks.js'
import type { CommandContext } from './context.js'
import { readTree } from './heads.js'

/** One backup. */
export interface ListedOutlook {
  id: string
  action: 'keep' | 'expire'
  /** As the plan of `expire` has them. */
  reasons: string[]
}

/** What is decided by. */
export interface OutlookInput {
  policy: RetentionSettings
  /** By the store's clock. */
  now: Date
  marks: Marks
}

/**
 * What is decided about all backups of a cluster; null where the settings hold no policy, or marks could not be read, of
 * which was warned: a guess would be wrong in the wrong direction.
 */
export function outlookOf(
  { policy, now, marks }: OutlookInput,
  { backups, tree, heads }: { backups: readonly BackupRecord[]; tree: TimelineTree; heads: readonly TimelineHead[] },
): ListedOutlook[] | null {
  if (!hasPolicy(policy) || !marks.areWhole) return null
  const states = new Map(marks.proofs.map(({ id, state }) => [id, state]))
  const decisions = decideBackups({
    ...{ policy, now, backups, stuck: new Map() },
    pinned: new Set(marks.pins.map(({ id }) => id)),
    unclean: new Set(backups.filter(({ id, totals }) => isUnclean(totals, states.get(id))).map(({ id }) => id)),
    heads: heads.map(({ timeline, last }) => ({ timeline, lastStored: last?.lastModified })),
    histories: historiesByTimeline(historiesOf(tree)),
  })
  return decisions.map(({ backup: { id }, isKept, reasons }) => ({ id, action: isKept ? 'keep' : 'expire', reasons }))
}

/** {@link outlookOf} with what it needs to be read; nothing is where there is no policy. */
export async function readOutlook(
  storage: Storage,
  cluster: ClusterIdentity,
  input: OutlookInput,
  context: CommandContext,
): Promise<ListedOutlook[] | null> {
  if (!hasPolicy(input.policy)) return null
  const { signal } = context
  const backups = await listBackups(storage, cluster.name, () => undefined, signal)
  const tree = await readTree(storage, cluster, context)
  return outlookOf(input, { backups, tree, heads: await findHeads(storage, cluster, tree, { signal }) })
}

function hasPolicy(policy: RetentionSettings): boolean {
  return Object.keys(policy).length > 0
}
