/** Pin a backup, so that it is kept whatever retention says, or take that back. */
import type { Settings } from '../config/settings.js'
import { NotFoundError, ToolError } from '../errors.js'
import { parseInstant } from '../postgres/recovery-target.js'
import { readBackupRecord } from '../repository/backup-record.js'
import { findBackup } from '../repository/catalog.js'
import { findCluster } from '../repository/clusters.js'
import { changePin } from '../repository/pins.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToWrite } from './open-repository.js'

/** Options of {@link pin}. */
export interface PinOptions {
  /** A date, a time and an offset, such as `2026-12-31 00:00+01`: the pin holds until then. Default: for ever. */
  until?: string | undefined
}

/** Whether a backup is pinned now. */
export interface PinAnswer {
  cluster: string
  id: string
  label: string
  pinned: boolean
  /** RFC 3339 in UTC; null: for ever, or not pinned. */
  until: string | null
  /** False: it was so before, and nothing was written. */
  changed: boolean
}

/** Pins a backup by id, the unique beginning of one, label, or `latest`. */
export async function pin(
  settings: Settings,
  backup: string,
  { until }: PinOptions,
  context: CommandContext,
): Promise<PinAnswer> {
  const end = until === undefined ? null : parseInstant('--until', until)
  if (end !== null && end.getTime() <= Date.now()) {
    throw new ToolError('usage', `wrong value ${JSON.stringify(until)} for --until: that instant has passed`)
  }
  return change(settings, backup, { pinned: true, until: end?.toISOString() ?? null }, context)
}

/** Takes a pin back. A backup that is not pinned stays so, and nothing is written. */
export async function unpin(settings: Settings, backup: string, context: CommandContext): Promise<PinAnswer> {
  return change(settings, backup, { pinned: false, until: null }, context)
}

async function change(
  settings: Settings,
  backup: string,
  wanted: { pinned: boolean; until: string | null },
  context: CommandContext,
): Promise<PinAnswer> {
  const { signal } = context
  const { storage } = await openToWrite(settings, undefined, signal)
  try {
    const { name: cluster } = await findCluster(storage, settings.cluster, signal)
    const { id, label } = await findBackup(storage, cluster, backup, warnOfUnreadable(context), signal)
    const { changed } = await changePin(storage, cluster, { id, ...wanted }, new Date(), signal)
    if (wanted.pinned) await checkStillThere(() => readBackupRecord(storage, cluster, id, signal), id)
    return { cluster, id, label, ...wanted, changed }
  } finally {
    storage.close()
  }
}

/** Retention may have deleted it while it was pinned: whoever relies on the pin must hear of that. */
async function checkStillThere(read: () => Promise<unknown>, id: string): Promise<void> {
  try {
    await read()
  } catch (cause) {
    if (!(cause instanceof NotFoundError)) throw cause
    throw new ToolError('storage', `backup ${id} was deleted before its pin was known`, { cause })
  }
}
