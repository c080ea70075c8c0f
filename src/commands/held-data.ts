/**
 * Data of backups whose record is gone is live while any record uses it, and a record that cannot be read may: one of a newer
 * version, whose backup shares archives with earlier ones, above all.
 */
import type { RetentionInventory } from '../repository/retention-inventory.js'
import type { CommandContext } from './context.js'

/** Whether `base/` must be left as it is, of which is warned with the reason. */
export function isDataHeld(
  { unreadable }: Pick<RetentionInventory, 'unreadable'>,
  { report }: CommandContext,
): boolean {
  for (const { id, error } of unreadable) {
    report({
      type: 'warning',
      message: `no data of backups is deleted: the record of backup ${id} cannot be read, and may use it`,
      ...(error.hint && { hint: error.hint }),
    })
  }
  return unreadable.length > 0
}
