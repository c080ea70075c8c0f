/**
 * Heartbeats of a backup in progress (S12, D6): retention on another host leaves alone what a running backup needs.
 *
 * Write-once: each beat is an object of its own, the newest counts, and its age is the store's own Date against its
 * LastModified, never our clock (format rule 10). The last one says how it ended; nothing here needs the right to delete.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument } from './document.js'
import { heartbeatKey, runningPrefix, timeOfKey } from './layout.js'

/** Time between two beats. */
const INTERVAL_MS = 60_000
/** Longest wait for the last beat. */
const LAST_BEAT_MS = 30_000

/** What a beat says. */
export interface Heartbeat {
  id: string
  host: string
  /** `unfinished`: all is stored but WAL, and `backup --finalize` can commit it (E6). */
  state: 'running' | 'committed' | 'failed' | 'unfinished'
  startLsn: string
  startSegment: string
}

/** Beats of one backup. */
export class HeartbeatWriter {
  readonly #storage: Storage
  readonly #cluster: string
  readonly #beat: Omit<Heartbeat, 'state'>
  readonly #stopped = new AbortController()
  #loop: Promise<void> | undefined
  /** Milliseconds since 1970. */
  #last: number

  /** Every beat is named later than `after`: one of another host whose clock is ahead must not outlive these. */
  constructor(storage: Storage, cluster: string, beat: Omit<Heartbeat, 'state'>, after?: Date) {
    this.#storage = storage
    this.#cluster = cluster
    this.#beat = beat
    this.#last = after?.getTime() ?? 0
  }

  /** Writes the first beat, then goes on by itself; `onFailure` is told when a beat could not be written. */
  async start(onFailure: (error: unknown) => void): Promise<void> {
    await this.#write('running')
    this.#loop = this.#repeat().catch((error: unknown) => {
      onFailure(new ToolError('storage', 'could not write the heartbeat of this backup', { cause: error }))
    })
  }

  /** Ends the beats with a last one that says how the backup ended. */
  async end(state: Exclude<Heartbeat['state'], 'running'>): Promise<void> {
    this.#stopped.abort()
    await this.#loop
    // clean-up has a deadline of its own: in an outage the end must not wait for every retry
    await this.#write(state, AbortSignal.timeout(LAST_BEAT_MS))
  }

  async #repeat(): Promise<void> {
    const { signal } = this.#stopped
    for (;;) {
      await sleep(INTERVAL_MS, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      await this.#write('running', signal).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    }
  }

  async #write(state: Heartbeat['state'], signal?: AbortSignal): Promise<void> {
    this.#last = Math.max(Date.now(), this.#last + 1)
    const now = new Date(this.#last)
    const document = { ...documentHead(), ...this.#beat, state, time: now.toISOString() }
    await createObject(this.#storage, heartbeatKey(this.#cluster, this.#beat.id, now), formatDocument(document), signal)
  }
}

/** The time in the name of the newest beat of a backup, or undefined. */
export async function newestBeatTime(
  storage: Storage,
  cluster: string,
  id: string,
  signal?: AbortSignal,
): Promise<Date | undefined> {
  let newest: Date | undefined
  for await (const { key } of storage.list(`${runningPrefix(cluster)}${id}/`, { signal }))
    newest = timeOfKey(key) ?? newest
  return newest
}
