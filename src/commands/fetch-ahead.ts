/**
 * Keeps the next segments ready for a server in recovery: a process of its own, which the server does not wait for.
 *
 * It only ever adds what is whole and verified. That something is not there, or cannot be got, it never says: it ends, and
 * the next call of restore_command finds out for itself (G2). It follows one timeline; when recovery goes to another, the
 * call that fetches the first segment there starts another one, which takes over.
 */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { parseWalFileName, segmentName, segmentNumberOf } from '../postgres/wal-segment.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { fetchWalFile } from '../repository/wal-fetch.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { FetchedSpool } from './fetched-spool.js'
import { openToRead } from './open-repository.js'
import { identifyCluster } from './wal-cluster.js'

/** Segments on their way at a time. */
const PARALLEL = 2
const LOOK_MS = 10
const LOOK_AROUND_MS = 1000
/** A server that takes nothing for so long is busy with something else, or at the end. */
const IDLE_MS = 60_000

/** Whether the working directory is that of a server that asks for WAL. */
export function isRecovering(): boolean {
  return existsSync('recovery.signal') || existsSync('standby.signal')
}

/** Keeps the segments that follow `name` ready, until nobody wants them any more. */
export async function fetchAhead(
  settings: Settings,
  name: string,
  place: string,
  { signal }: CommandContext,
): Promise<void> {
  const file = parseWalFileName(name)
  if (file?.kind !== 'segment') throw new ToolError('usage', `"${name}" is not the name of a WAL segment`)
  const server = await runOfServer()
  const { storage } = await openToRead(settings)
  try {
    const cluster = await identifyCluster(storage, settings, signal)
    const spool = await FetchedSpool.open(place)
    try {
      if ((await spool.freeBytes()) < 2 * settings.fetchAhead * cluster.walSegmentSize) return
      const first = segmentNumberOf(file, cluster.walSegmentSize) + 1n
      const wanted = { timeline: file.timeline, first, most: settings.fetchAhead }
      await keepAhead(spool, storage, cluster, wanted, server, signal)
    } finally {
      await spool.close()
    }
  } finally {
    storage.close()
  }
}

/** What to keep ready. */
interface Wanted {
  timeline: number
  /** Number of the first segment. */
  first: bigint
  most: number
}

async function keepAhead(
  spool: FetchedSpool,
  storage: Storage,
  cluster: ClusterIdentity,
  wanted: Wanted,
  server: string,
  signal: AbortSignal,
): Promise<void> {
  const cancel = new AbortController()
  const ahead = new Ahead(spool, storage, cluster, wanted, AbortSignal.any([signal, cancel.signal]))
  try {
    let looked = performance.now()
    while ((await ahead.goOn()) && !signal.aborted) {
      await sleep(LOOK_MS)
      const now = performance.now()
      if (now - looked < LOOK_AROUND_MS) continue
      looked = now
      if (!isRecovering() || (await runOfServer()) !== server || !(await spool.isOurs())) return
    }
  } finally {
    cancel.abort()
    await ahead.settled()
  }
}

/** Pid and start of the server of this directory: another start is another server. */
async function runOfServer(): Promise<string> {
  const [pid, , started] = (await readFile('postmaster.pid', 'utf8')).split('\n')
  return `${pid} ${started}`
}

/** What is on its way, and what waits to be taken. */
class Ahead {
  readonly #spool: FetchedSpool
  readonly #storage: Storage
  readonly #cluster: ClusterIdentity
  readonly #timeline: number
  readonly #most: number
  readonly #signal: AbortSignal
  readonly #announced: string[] = []
  readonly #onTheWay = new Set<Promise<void>>()
  readonly #waiting = new Set<string>()
  #next: bigint
  #atEnd = false
  #taken = performance.now()

  constructor(
    spool: FetchedSpool,
    storage: Storage,
    cluster: ClusterIdentity,
    { timeline, first, most }: Wanted,
    signal: AbortSignal,
  ) {
    this.#spool = spool
    this.#storage = storage
    this.#cluster = cluster
    this.#timeline = timeline
    this.#next = first
    this.#most = most
    this.#signal = signal
  }

  /** Notices what was taken, and begins what there is room for. False when there is nothing left to do. */
  async goOn(): Promise<boolean> {
    for (const name of this.#waiting) {
      if (this.#spool.holds(name)) continue
      this.#waiting.delete(name)
      this.#taken = performance.now()
    }
    // all of them at once: a server that is faster than the store waits for one that was announced
    while (!this.#atEnd && this.#size < this.#most) {
      const name = segmentName(this.#timeline, this.#next++, this.#cluster.walSegmentSize)
      this.#announced.push(name)
      await this.#spool.announce(name)
    }
    while (!this.#atEnd && this.#onTheWay.size < PARALLEL) {
      const name = this.#announced.shift()
      if (name === undefined) break
      const fetching = this.#fetch(name)
      this.#onTheWay.add(fetching)
      void fetching.finally(() => this.#onTheWay.delete(fetching))
    }
    if (this.#atEnd) await this.#withdraw()
    return this.#size > 0 && performance.now() - this.#taken < IDLE_MS
  }

  get #size(): number {
    return this.#waiting.size + this.#onTheWay.size + this.#announced.length
  }

  async #withdraw(): Promise<void> {
    for (const name of this.#announced.splice(0)) await this.#spool.withdraw(name)
  }

  /** Resolves when nothing is on its way any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#onTheWay)
  }

  /** Never rejects: whatever fails is found and told by the call that needs the segment. */
  async #fetch(name: string): Promise<void> {
    const file = parseWalFileName(name)
    if (!file) throw new Error(`"${name}" is no WAL segment`)
    try {
      await this.#spool.add(name, (path) =>
        fetchWalFile(this.#storage, this.#cluster, file, path, { sync: false, signal: this.#signal }),
      )
      this.#waiting.add(name)
    } catch {
      this.#atEnd = true
      await this.#withdraw()
    }
  }
}
