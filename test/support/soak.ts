/**
 * Kills push, fetch and PostgreSQL at random moments, and proves that the archive is what it should be: every file that a
 * server had archived is stored once, under its key, with its content; nothing else is; and a restore has every commit.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parseWalFileName } from '#src/postgres/wal-segment.js'
import { walKey } from '#src/repository/layout.js'
import { zstdContents } from './wal-contents.js'
import { FRONT } from './command-line.js'
import { startLedger, verifyLedger, type Acknowledged, type Ledger } from './ledger.js'
import {
  archiveWal,
  awaitAllArchived,
  openEndpointRepository,
  openWorkplace,
  startArchivingCluster,
  succeed,
  type EndpointRepository,
} from './pgsluice.js'
import { query, startCluster, type Cluster } from './postgres.js'
import { childrenOf, commandLine } from './processes.js'
import { waitUntil } from './wait.js'

/** What to do. */
export interface SoakOptions {
  major: number
  seconds: number
  /** The same seed makes the same choices; when they strike, the machine decides. */
  seed: number
}

/** What was done. */
export interface SoakReport {
  kills: Record<'push' | 'front' | 'fetch' | 'fetch-ahead' | 'server' | 'fault', number>
  files: number
  commits: number
}

/** Runs it. Rejects with what is wrong. */
export async function soak({ major, seconds, seed }: SoakOptions): Promise<SoakReport> {
  using workplace = await openWorkplace()
  await using repository = await openEndpointRepository()
  const kills: SoakReport['kills'] = { push: 0, front: 0, fetch: 0, 'fetch-ahead': 0, server: 0, fault: 0 }
  const random = randomOf(seed)
  // recovery takes as long as the writing took, and never less than what a busy machine needs
  const patienceMs = Math.max(180_000, seconds * 1000)
  const acknowledged: Acknowledged[] = []
  const settings = { wal_keep_size: '4GB' }
  const directories: string[] = []
  await using first = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1, settings })
  directories.push(first.pgdata)
  await succeed(['backup'], repository, { cluster: first })
  const third = (seconds * 1000) / 3
  await disturbArchiving(first, repository, { forMs: third, random, kills, acknowledged })
  await first.stop()

  const directory = workplace.at('second')
  await succeed(['restore', '--target-dir', directory], repository)
  directories.push(directory)
  const push = `'${FRONT}' --node '${process.execPath}' push "%p" --repository ${repository.url}`
  await using second = await startCluster({
    major,
    directory,
    env: repository.env,
    settings: { ...settings, archive_mode: 'on', archive_command: push },
    start: false,
  })
  await disturbRecovery(second, { random, kills, blows: Math.max(12, seconds / 10), patienceMs })
  await verifyLedger(second, acknowledged)
  await disturbArchiving(second, repository, { forMs: third, random, kills, acknowledged })
  await archiveWal(second, repository)
  await second.stop()

  const files = await checkArchive(repository, directories)
  const last = workplace.at('last')
  await succeed(['restore', '--target-dir', last], repository)
  await using restored = await startCluster({ major, directory: last, env: repository.env })
  await waitUntil('the end of recovery', () => isRecovered(restored), patienceMs)
  await waitUntil('connections', () => isUp(restored))
  await verifyLedger(restored, acknowledged)
  return { kills, files, commits: acknowledged.length }
}

interface Disturbance {
  random: () => number
  kills: SoakReport['kills']
}

async function disturbArchiving(
  cluster: Cluster,
  repository: EndpointRepository,
  { forMs, random, kills, acknowledged }: Disturbance & { forMs: number; acknowledged: Acknowledged[] },
): Promise<void> {
  const end = Date.now() + forMs
  let ledger: Ledger = await startLedger(cluster, { clients: 2 })
  while (Date.now() < end) {
    await query(cluster, 'select pg_switch_wal()').catch(() => undefined)
    await passed(50 + random() * 250)
    const choice = random()
    if (choice < 0.35) kills.push += killOne(descendants(cluster.pid), / wal push /, random)
    else if (choice < 0.5) kills.front += killOne(descendants(cluster.pid), /pgsluice-wal .*push/, random)
    else if (choice < 0.6) {
      kills.fault++
      const action = (['reset', 'lose-answer', { status: 503, code: 'SlowDown' }] as const)[Math.floor(random() * 3)]!
      repository.endpoint.fault({ match: ({ key }) => key.includes('/wal/'), action })
      await passed(random() * 500)
      repository.endpoint.clearFaults()
    } else if (choice < 0.68) {
      kills.server++
      await cluster.crash()
      acknowledged.push(...(await ledger.stop()))
      await cluster.start()
      ledger = await startLedger(cluster, { clients: 2 })
    }
  }
  acknowledged.push(...(await ledger.stop()))
  repository.endpoint.clearFaults()
  await archiveWal(cluster, repository)
  await awaitAllArchived(cluster, 300_000)
}

/** Strikes one after another, starts the server again wherever it stopped, and waits until it has recovered all the same. */
async function disturbRecovery(
  cluster: Cluster,
  { random, kills, blows, patienceMs }: Disturbance & { blows: number; patienceMs: number },
): Promise<void> {
  await cluster.start({ wait: 'none' })
  for (let left = blows; left > 0 && !isRecovered(cluster); left--) {
    if (cluster.pid === undefined) await cluster.start({ wait: 'none' })
    // each kind of fetch at least once, before recovery can have ended
    const choice = kills['fetch-ahead'] === 0 ? 0 : kills.fetch === 0 ? 0.5 : random()
    if (choice < 0.4)
      kills['fetch-ahead'] += await hunt(cluster, () => [fetcherAhead(cluster)], / wal fetch-ahead /, random)
    else if (choice < 0.8)
      kills.fetch += await hunt(cluster, () => descendants(cluster.pid), /pgsluice-wal .* fetch | wal fetch /, random)
    else if (cluster.pid !== undefined) {
      await passed(random() * 300)
      kills.server++
      await cluster.crash()
    }
  }
  await waitUntil(
    'the end of recovery',
    async () => {
      if (cluster.pid === undefined) await cluster.start({ wait: 'none' })
      return isRecovered(cluster)
    },
    patienceMs,
  )
  await waitUntil('connections', () => isUp(cluster))
}

/**
 * Kills a fitting process a little after one is seen, or the next where that one has ended; gives up when the server has
 * stopped or recovered, or after a while.
 */
async function hunt(
  cluster: Cluster,
  candidates: () => number[],
  pattern: RegExp,
  random: () => number,
): Promise<number> {
  const end = Date.now() + 3000
  while (Date.now() < end && cluster.pid !== undefined && !isRecovered(cluster)) {
    const seen = candidates().filter((pid) => isFitting(pid, pattern))
    if (seen.length > 0) {
      await passed(random() * 100)
      const killed = killOne(seen, pattern, random)
      if (killed > 0) return killed
    }
    await passed(2)
  }
  return 0
}

function isRecovered(cluster: Cluster): boolean {
  return /archive recovery complete/.test(cluster.logText())
}

/** The process that fetches segments in advance, as it has noted itself; 0 where there is none. */
function fetcherAhead(cluster: Cluster): number {
  const place = path.join(cluster.pgdata, 'pg_wal/pgsluice/fetched/place')
  return existsSync(place) ? Number(readFileSync(place, 'utf8').split('\n')[1]) : 0
}

/** Every file that a server had archived is there once, with its content, and nothing else. Returns how many. */
async function checkArchive(repository: EndpointRepository, directories: readonly string[]): Promise<number> {
  const archived = new Map<string, string>()
  for (const directory of directories) {
    const wal = path.join(directory, 'pg_wal')
    for (const status of readdirSync(path.join(wal, 'archive_status'))) {
      const name = status.replace(/\.(done|ready)$/, '')
      if (!existsSync(path.join(wal, name))) continue
      const hash = sha256(readFileSync(path.join(wal, name)))
      // what the second server has of the first one's files came out of the archive
      assert.equal(hash, archived.get(name) ?? hash, `two servers have other content in "${name}"`)
      archived.set(name, hash)
    }
  }
  const keys = (await repository.keys()).filter((key) => key.includes('/wal/'))
  const stored = new Map(keys.map((key) => [path.basename(key, '.zst'), key]))
  assert.equal(stored.size, keys.length, 'a file is stored more than once')
  for (const [name, hash] of archived) {
    const key = stored.get(name)
    assert.ok(key !== undefined, `"${name}" is not in the archive`)
    assert.equal(key, walKey(key.slice(0, key.indexOf('/')), parseWalFileName(name)!))
    assert.equal(sha256(zstdContents(await repository.get(key))), hash, `"${name}" has other content`)
  }
  assert.deepEqual([...stored.keys()].filter((name) => !archived.has(name)).sort(), [], 'nobody has archived these')
  assert.deepEqual(repository.endpoint.openUploads(), [])
  return keys.length
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function killOne(pids: readonly number[], pattern: RegExp, random: () => number): number {
  const fitting = pids.filter((pid) => isFitting(pid, pattern))
  const pid = fitting[Math.floor(random() * fitting.length)]
  if (pid === undefined) return 0
  try {
    process.kill(pid, 'SIGKILL')
    return 1
  } catch {
    return 0 // it has ended by itself
  }
}

function isFitting(pid: number, pattern: RegExp): boolean {
  return pid > 0 && pattern.test(` ${commandLine(pid)} `)
}

function descendants(pid: number | undefined): number[] {
  return pid === undefined ? [] : childrenOf(pid).flatMap((child) => [child, ...descendants(child)])
}

async function isUp(cluster: Cluster): Promise<boolean> {
  return query(cluster, 'select').then(
    () => true,
    () => false,
  )
}

/** The time between two blows: what is waited for is that it passes. */
function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** As mulberry32: small, and good enough to choose a victim. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
