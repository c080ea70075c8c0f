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
import { heartbeatKey } from './layout.js'

/** Time between two beats. */
const INTERVAL_MS = 60_000
/** Longest wait for the last beat. */
const LAST_BEAT_MS = 30_000

/** What a beat says. */
export interface Heartbeat {
  id: string
  host: string
  state: 'running' | 'committed' | 'failed'
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

  constructor(storage: Storage, cluster: string, beat: Omit<Heartbeat, 'state'>) {
    this.#storage = storage
    this.#cluster = cluster
    this.#beat = beat
  }

  /** Writes the first beat, then goes on by itself; `onFailure` is told when a beat could not be written. */
  async start(onFailure: (error: unknown) => void): Promise<void> {
    await this.#write('running')
    this.#loop = this.#repeat().catch((error: unknown) => {
      onFailure(new ToolError('storage', 'could not write the heartbeat of this backup', { cause: error }))
    })
  }

  /** Ends the beats with a last one that says how the backup ended. */
  async end(state: 'committed' | 'failed'): Promise<void> {
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
    const now = new Date()
    const document = { ...documentHead(), ...this.#beat, state, time: now.toISOString() }
    await createObject(this.#storage, heartbeatKey(this.#cluster, this.#beat.id, now), formatDocument(document), signal)
  }
}
