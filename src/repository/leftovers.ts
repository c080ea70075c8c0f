/** What runs that were interrupted have left, and what belongs to backups that are gone. Pure. */
import type { RetentionInventory } from './retention-inventory.js'
import type { BackupFolder } from './retired.js'

/** A folder that belongs to nothing any more. */
export interface Leftover {
  folder: BackupFolder
  id: string
  reason: string
}

/** A day: what nobody has touched for so long, nobody is at. */
const SETTLED_MS = 86_400_000

/** The part of an inventory that decides. */
export type LeftoverInput = Pick<RetentionInventory, 'now' | 'recorded' | 'inUse' | 'folders' | 'beats'> & {
  /** When something was last stored in the folder of a base backup that has no heartbeat. */
  lastStored: ReadonlyMap<string, Date>
}

/** Finds them, base backups first. */
export function findLeftovers(input: LeftoverInput): Leftover[] {
  const { now, recorded, folders, beats, lastStored } = input
  const inUse = new Set(input.inUse.map(({ id }) => id))
  const isSettled = (time: Date | undefined): boolean =>
    time !== undefined && now.getTime() - time.getTime() >= SETTLED_MS
  const isGone = (id: string): boolean => !recorded.has(id) && !inUse.has(id)
  // a heartbeat comes before the first byte of data (S12); data without one is judged by its own age
  const base = folders.base.filter((id) => isGone(id) && (beats.has(id) || isSettled(lastStored.get(id))))
  const running = folders.running.filter(
    (id) => isGone(id) || (recorded.has(id) && isSettled(beats.get(id)?.lastModified)),
  )
  return [
    ...base.map((id) => leftover('base', id, 'it has no record, and nobody is taking it')),
    ...running.map((id) =>
      leftover('running', id, recorded.has(id) ? 'the backup is complete' : 'the backup was given up or is gone'),
    ),
    ...(['pins', 'proofs'] as const).flatMap((folder) =>
      folders[folder].filter(isGone).map((id) => leftover(folder, id, 'the backup is gone')),
    ),
  ]
}

function leftover(folder: BackupFolder, id: string, reason: string): Leftover {
  return { folder, id, reason }
}
