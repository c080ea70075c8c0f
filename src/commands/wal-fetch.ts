/**
 * Fetch one WAL file: what restore_command calls, through the shell front.
 *
 * Success: the file is in place, whole and verified. ToolError `not-in-archive`: it is definitely absent. Everything
 * else is a failure that PostgreSQL must not take for the end of WAL (G1).
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Settings } from '../config/settings.js'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { parseBackupLabel } from '../postgres/backup-label.js'
import { parseWalFileName, segmentName, segmentNumberOf, type SegmentParts } from '../postgres/wal-segment.js'
import { fetchWalFile } from '../repository/wal-fetch.js'
import type { CommandContext } from './context.js'
import { isRecovering } from './fetch-ahead.js'
import { FetchedSpool, takeFetched } from './fetched-spool.js'
import type { LocalCluster } from './local-cluster.js'
import { openToRead } from './open-repository.js'
import { retry, type RetryOptions } from './retry.js'
import { findLocal, identify } from './wal-cluster.js'

/** A standby is asked to be promoted between two calls, and waits for the one that runs. */
const STANDBY_MS = 4000
/** A store that sends nothing for so long does not get on. */
const STILL_MS = 1000
const SDK_ATTEMPTS = 3

/** What a server in recovery adds. */
export interface FetchAheadOptions {
  /** What decides the repository, as the shell front put it. */
  place: string
  /** Starts the process that fetches what follows; returns its pid, or undefined where it could not be started. */
  start: () => number | undefined
}

/**
 * Fetches WAL file `name` to `destination` (`%f` and `%p`: the latter relative to PGDATA), trying again while there is time.
 * With `ahead`, what follows is fetched ahead.
 */
export async function walFetch(
  settings: Settings,
  name: string,
  destination: string,
  context: CommandContext,
  ahead?: FetchAheadOptions,
): Promise<void> {
  const file = parseWalFileName(name)
  if (!file) {
    throw new ToolError('usage', `"${name}" is not the name of a WAL file`, {
      hint: 'Expected what restore_command passes with %f.',
    })
  }
  // a promotion asks for it, and must not depend on the store (writeTimeLineHistory() in timeline.c)
  if (file.kind === 'history' && file.timeline === 1) throw absent(name, 'timeline 1 has no history')
  const path = resolve(destination)
  const isAhead = ahead !== undefined && settings.fetchAhead > 0 && file.kind === 'segment' && isRecovering()
  const forMs = existsSync('standby.signal') ? standbyMs() : Infinity
  if (isAhead && (await takeFetched(ahead.place, name, path, { forMs, signal: context.signal }))) return
  const local = await findLocal(settings)
  // a few attempts of the SDK: what they fail for is told, and then tried again
  const { storage } = await openToRead({ ...settings, maxAttempts: Math.min(settings.maxAttempts, SDK_ATTEMPTS) })
  try {
    let moved = -Infinity
    const onPiece = (): void => void (moved = performance.now())
    const fetch = async (signal: AbortSignal): Promise<void> => {
      const cluster = await identify(storage, settings, local, signal)
      const ownTimeline = local && file.kind === 'history' ? await timelineOf(local) : undefined
      await fetchWalFile(storage, cluster, file, path, { ownTimeline, onPiece, signal })
    }
    // a segment that takes longer than a standby waits would be begun anew for ever
    const isMoving = (): boolean => performance.now() - moved < STILL_MS
    await retry(fetch, { ...patience(settings, local), isMoving }, context)
  } catch (error) {
    if (isPromoting(local) && file.kind === 'history' && existsSync(`pg_wal/${name}`))
      throw absent(name, `the archive cannot be asked (${reasonOf(error)}), and the server has that file`)
    throw error
  } finally {
    storage.close()
  }
  if (isAhead && local) await startAhead(ahead, file, local, context)
}

/** The file is delivered: that nothing comes ahead is no failure. */
async function startAhead(
  { place, start }: FetchAheadOptions,
  file: SegmentParts,
  { walSegmentSize }: LocalCluster,
  { report }: CommandContext,
): Promise<void> {
  const next = segmentName(file.timeline, segmentNumberOf(file, walSegmentSize) + 1n, walSegmentSize)
  try {
    const pid = start()
    if (pid !== undefined) await FetchedSpool.prepare(place, pid, next)
  } catch (error) {
    report({ type: 'warning', message: `nothing is fetched ahead: ${reasonOf(error)}` })
  }
}

function absent(name: string, why: string): ToolError {
  return new ToolError('not-in-archive', `"${name}" is not in the archive: ${why}`)
}

/** A standby lives on, and PostgreSQL asks again by itself; without one, to give up ends recovery, and somebody must start it. */
function patience({ retryTimeMs }: Settings, local: LocalCluster | undefined): RetryOptions {
  if (existsSync('standby.signal') || isPromoting(local)) return { forMs: standbyMs(), cutShort: true }
  return { forMs: retryTimeMs, cutShort: false }
}

/** What is left of it: the start of the process is part of the wait. */
function standbyMs(): number {
  return STANDBY_MS - performance.now()
}

/**
 * Whether a server is on its way out of recovery: it has removed its signal file, and asks for the history of the timeline
 * that it leaves. It has that one, and to fail now would end it in the middle of its promotion.
 */
function isPromoting(local: LocalCluster | undefined): boolean {
  return local !== undefined && !isRecovering() && existsSync('postmaster.pid')
}

/** The timeline that recovery of this directory begins on: the backup's until it has begun, then that of its last checkpoint. */
async function timelineOf(local: LocalCluster): Promise<number> {
  try {
    return parseBackupLabel(await readFile(`${local.directory}/backup_label`)).startTimeline
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return local.checkpointTimeline
    throw error
  }
}
