/** What `expire` and `gc` do about announcements of earlier runs. */
import type { ToolError } from '../errors.js'
import { BACKUP_FOLDERS, numberOf, type Announcement } from '../repository/retired.js'
import type { RetentionInventory } from '../repository/retention-inventory.js'
import type { Retirement } from '../repository/retirement.js'
import type { WalStretch } from '../repository/wal-survey.js'
import type { CommandContext } from './context.js'

/** A document that is passed over makes what it announced wait once more. */
export function warnOfAnnouncement({ report }: CommandContext): (key: string, error: ToolError) => void {
  return (key, error) => {
    report({ type: 'warning', message: `"${key}" is passed over: ${error.message}` })
  }
}

/** Announcements that name nothing which is left. Without a look at the WAL, those that name some are not among them. */
export function spentAnnouncements(
  { folders, cluster }: Pick<RetentionInventory, 'folders' | 'cluster'>,
  retirement: Retirement,
  wal?: readonly WalStretch[],
): string[] {
  const left = new Set(BACKUP_FOLDERS.flatMap((folder) => folders[folder]))
  const isLeft = ({ retired }: Announcement): boolean =>
    [...retired.backups, ...retired.folders].some(({ id }) => left.has(id)) ||
    retired.wholeCluster === true ||
    retired.wal.some(({ timeline, first, last }) => {
      if (!wal) return true
      const [from, to] = [numberOf(first, cluster.walSegmentSize), numberOf(last, cluster.walSegmentSize)]
      return wal.some((each) => each.timeline === timeline && each.firstNumber <= to && each.lastNumber >= from)
    })
  return retirement.spent(isLeft)
}
