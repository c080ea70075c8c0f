/**
 * Random pasts of a cluster, for the tests of retention: servers that write WAL, fork and are promoted, backups that end in
 * every way, gaps, pins and proofs. It keeps its own account of what it did, which an oracle can walk without our code.
 */
import { formatLsn } from '#src/postgres/lsn.js'
import { parseWalFileName, segmentName } from '#src/postgres/wal-segment.js'
import { commitBackup } from '#src/repository/backup-record.js'
import { createObject } from '#src/repository/create-object.js'
import { documentHead, formatDocument } from '#src/repository/document.js'
import { backupId, basePrefix, clusterKey, heartbeatKey, UNFINISHED, walKey } from '#src/repository/layout.js'
import { writePin } from '#src/repository/pins.js'
import { writeProof } from '#src/repository/proofs.js'
import { storeWal, WAL_CLUSTER } from '../unit/repository/wal-scene.js'
import { MemoryStorage } from './memory-storage.js'

const NAME = WAL_CLUSTER.name
const SEGMENT = WAL_CLUSTER.walSegmentSize
const HOUR = 3_600_000
export const DAY = 24 * HOUR

/** How a backup ended. */
export type Ending =
  'good' | 'page-errors' | 'acknowledged' | 'failed-verify' | 'failed' | 'killed' | 'running' | 'unfinished'

/** A backup as it was taken. */
export interface PastBackup {
  id: string
  timeline: number
  start: bigint
  stop: bigint
  stopTime: number
  bytes: number
  ending: Ending
  isPinned: boolean
}

/** A timeline as it was made: it left `parent` at `fork`. */
export interface PastTimeline {
  timeline: number
  parent: number | undefined
  fork: bigint
  /** Numbers of the segments that are stored, with their time. */
  stored: Map<number, number>
}

interface Server {
  timeline: number
  lsn: bigint
}

/** Numbers from a seed, the same ones each time (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** See the head of this file. */
export class RetentionHistory {
  readonly storage = new MemoryStorage()
  readonly backups: PastBackup[] = []
  readonly timelines = new Map<number, PastTimeline>()
  readonly #random: (below: number) => number
  readonly #directory: string
  #servers: Server[] = [{ timeline: 1, lsn: BigInt(SEGMENT) + 40n }]
  // a month and a year end on the way
  #now = Date.UTC(2025, 11, 22)

  constructor(seed: number, directory: string) {
    this.#random = randomFrom(seed)
    this.#directory = directory
    this.timelines.set(1, { timeline: 1, parent: undefined, fork: 0n, stored: new Map() })
  }

  get now(): number {
    return this.#now
  }

  chance(percent: number): boolean {
    return this.#random(100) < percent
  }

  pick<T>(items: readonly T[]): T {
    return items[this.#random(items.length)]!
  }

  /** Lives through it. */
  async play(): Promise<void> {
    this.storage.clock = new Date(this.#now)
    await createObject(this.storage, clusterKey(NAME), formatDocument(WAL_CLUSTER))
    const steps = 15 + this.#random(35)
    for (let step = 0; step < steps; step++) {
      this.#pass(HOUR + this.#random(18 * HOUR))
      const server = this.pick(this.#servers)
      await this.#write(server, 1 + this.#random(3))
      if (this.chance(40)) await this.#backUp(server, this.#pastEnding())
      if (this.chance(8)) await this.#fork(server)
    }
    const last = this.pick(this.#servers)
    if (this.chance(40)) await this.#backUp(last, 'running')
    if (this.chance(25)) await this.#backUp(last, 'unfinished')
    if (this.chance(30)) await this.#write(last, 1)
  }

  #pastEnding(): Ending {
    if (this.chance(65)) return 'good'
    return this.pick(['page-errors', 'acknowledged', 'failed-verify', 'failed', 'killed'])
  }

  #pass(ms: number): void {
    this.#now += ms
    this.storage.clock = new Date(this.#now)
  }

  async #put(timeline: number, number: number, suffix = ''): Promise<void> {
    const file = parseWalFileName(segmentName(timeline, BigInt(number), SEGMENT) + suffix)!
    await this.storage.put(walKey(NAME, file), Buffer.from('WAL'), { ifAbsent: true })
    if (suffix === '') this.timelines.get(timeline)!.stored.set(number, this.#now)
  }

  /** Fills so many segments; now and then one never arrives. */
  async #write(server: Server, segments: number): Promise<void> {
    for (let each = 0; each < segments; each++) {
      const number = Number(server.lsn / BigInt(SEGMENT))
      if (!this.timelines.get(server.timeline)!.stored.has(number) && !this.chance(2))
        await this.#put(server.timeline, number)
      server.lsn = BigInt(number + 1) * BigInt(SEGMENT) + 40n
    }
  }

  /** A server is promoted, or a copy of it that was recovered to some instant goes on beside it. */
  async #fork(server: Server): Promise<void> {
    const parent = this.timelines.get(server.timeline)!
    const back = BigInt(this.#random(4)) * BigInt(SEGMENT) + BigInt(this.#random(SEGMENT))
    const fork = this.chance(50) ? server.lsn : server.lsn - back
    if (fork <= parent.fork + BigInt(SEGMENT)) return
    const timeline = Math.max(...this.timelines.keys()) + 1
    this.timelines.set(timeline, { timeline, parent: parent.timeline, fork, stored: new Map() })
    const lines: string[] = []
    for (let each = this.timelines.get(timeline); each?.parent !== undefined; each = this.timelines.get(each.parent))
      lines.unshift(`${each.parent}\t${formatLsn(each.fork)}\tpromoted\n`)
    await storeWal(this.storage, this.#directory, `${hex8(timeline)}.history`, lines.join(''))
    const isMoved = this.chance(60)
    if (isMoved && this.chance(60))
      await this.#put(parent.timeline, Number(fork / BigInt(SEGMENT)), '.partial').catch(() => undefined)
    if (isMoved) this.#servers = this.#servers.filter((each) => each !== server)
    this.#servers.push({ timeline, lsn: fork })
  }

  async #backUp(server: Server, ending: Ending): Promise<void> {
    if (server.lsn % BigInt(SEGMENT) !== 40n) await this.#write(server, 1)
    const { timeline, lsn: start } = server
    const id = backupId(
      new Date(this.#now),
      this.#random(2 ** 31)
        .toString(16)
        .padStart(8, '0'),
    )
    const bytes = 1000 + this.#random(9000)
    await this.storage.put(`${basePrefix(NAME, id)}00000.tar.zst`, Buffer.from('archive'))
    await this.#beat(id, 'running', start, timeline)
    const length = 1 + this.#random(2)
    for (let each = 0; each < length; each++) {
      const number = Number(server.lsn / BigInt(SEGMENT))
      // no record is written before this WAL is there
      if (!this.timelines.get(timeline)!.stored.has(number)) await this.#put(timeline, number)
      server.lsn = BigInt(number + 1) * BigInt(SEGMENT) + 40n
    }
    const stop = server.lsn - 60n
    this.#pass(ending === 'running' ? 60_000 : HOUR)
    const isPinned = this.chance(8) && !['failed', 'killed', 'running', 'unfinished'].includes(ending)
    this.backups.push({ id, timeline, start, stop, stopTime: this.#now, bytes, ending, isPinned })
    if (ending === 'unfinished') await this.storage.put(basePrefix(NAME, id) + UNFINISHED, Buffer.from('{}'))
    if (ending === 'failed' || ending === 'unfinished') await this.#beat(id, 'failed', start, timeline)
    if (['failed', 'killed', 'running', 'unfinished'].includes(ending)) return
    await this.#put(timeline, Number(start / BigInt(SEGMENT)), `.${hex8(Number(start % BigInt(SEGMENT)))}.backup`)
    await this.#commit(this.backups.at(-1)!)
    await this.#beat(id, 'committed', start, timeline)
    const time = new Date(this.#now).toISOString()
    const fault = { key: 'x', problem: 'it is damaged' }
    const proof = { id, time, faults: [fault], faultCount: 1 }
    if (ending === 'failed-verify') await writeProof(this.storage, NAME, { ...proof, kind: 'verify', ok: false })
    if (ending === 'acknowledged')
      await writeProof(this.storage, NAME, { ...proof, kind: 'acknowledge', ok: true, reason: 'known' })
    if (isPinned) await writePin(this.storage, NAME, { id, pinned: true, until: null, time })
  }

  async #commit({ id, timeline, start, stop, stopTime, bytes, ending }: PastBackup): Promise<void> {
    const nameAt = (lsn: bigint): string => segmentName(timeline, lsn / BigInt(SEGMENT), SEGMENT)
    const time = new Date(stopTime).toISOString()
    const pageErrors = ending === 'page-errors' || ending === 'acknowledged' ? 3 : 0
    await commitBackup(this.storage, {
      ...documentHead(),
      ...{ tool: 'test', id, label: 'x', type: 'full', cluster: NAME, postgresVersion: 180000, catalogVersion: 1 },
      ...{ walSegmentSize: SEGMENT, blockSize: 8192, dataChecksums: true, fromStandby: false },
      checksumAlgorithm: 'CRC32C',
      start: { lsn: formatLsn(start), checkpointLsn: formatLsn(start), timeline, segment: nameAt(start), time },
      stop: { lsn: formatLsn(stop), timeline, segment: nameAt(stop), time },
      tablespaces: [],
      objects: { sha256: '', count: 1, bytes },
      files: { sha256: '', count: 1 },
      totals: { bytes, storedBytes: bytes, seconds: 1, pageErrors, vanishedFiles: 0, skippedFiles: 0 },
      parent: null,
      uses: {},
    })
  }

  async #beat(id: string, state: string, start: bigint, timeline: number): Promise<void> {
    const startSegment = segmentName(timeline, start / BigInt(SEGMENT), SEGMENT)
    const beat = { id, host: 'db1', state, startLsn: formatLsn(start), startSegment, time: '' }
    const key = heartbeatKey(NAME, id, new Date(this.#now))
    await createObject(this.storage, key, formatDocument({ ...documentHead(), ...beat }))
  }
}

function hex8(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, '0')
}
