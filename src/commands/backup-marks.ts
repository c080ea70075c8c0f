/** What has been said of backups since they were taken: pins, and what looks at them have proven. */
import { ToolError } from '../errors.js'
import { readPins } from '../repository/pins.js'
import { readProofStates, type ProofState } from '../repository/proofs.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'

/** A pin that holds. */
export interface ListedPin {
  id: string
  /** RFC 3339 in UTC; null: for ever. */
  until: string | null
}

/** What is known of a backup from looks at it. */
export interface ListedProof extends Pick<ProofState, 'state' | 'level' | 'time' | 'faultCount'> {
  id: string
}

/** Both. */
export interface Marks {
  pins: ListedPin[]
  proofs: ListedProof[]
  /** Nothing of either was damaged. */
  areWhole: boolean
}

/**
 * Reads both. One that is damaged must not hide the backups: it is warned of, and none of its kind is told. Who deletes
 * by them reads them by itself, and fails.
 */
export async function readMarks(storage: Storage, cluster: string, now: Date, context: CommandContext): Promise<Marks> {
  const { signal } = context
  const pins = await orWarning('pins', () => readPins(storage, cluster, now, signal), context)
  const proofs = await orWarning('proofs', () => readProofStates(storage, cluster, signal), context)
  return {
    pins: [...(pins ?? [])].map(([id, { until }]) => ({ id, until })),
    proofs: [...(proofs ?? [])].map(([id, { state, level, time, faultCount }]) => ({
      id,
      state,
      ...(level && { level }),
      time,
      faultCount,
    })),
    areWhole: pins !== undefined && proofs !== undefined,
  }
}

async function orWarning<T>(
  what: string,
  read: () => Promise<Map<string, T>>,
  { report }: CommandContext,
): Promise<Map<string, T> | undefined> {
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof ToolError) || (error.code !== 'damaged' && error.code !== 'configuration')) throw error
    report({
      type: 'warning',
      message: `${what} are not shown: ${error.message}`,
      ...(error.hint && { hint: error.hint }),
    })
    return undefined
  }
}
