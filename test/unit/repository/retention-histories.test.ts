/**
 * Retention against random pasts of a cluster. The oracle knows what was done and walks segment by segment; it shares no
 * code with the planner.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { expireCluster } from '#src/commands/expire.js'
import type { ExpireResult } from '#src/commands/expire-result.js'
import { collectLeftovers } from '#src/commands/gc.js'
import { silent } from '#src/report.js'
import type { RetentionPolicy } from '#src/repository/retention-policy.js'
import { Killed } from '../../support/memory-storage.js'
import { DAY, RetentionHistory, type PastBackup } from '../../support/retention-history.js'
import { WAL_CLUSTER } from './wal-scene.js'

const HISTORIES = 200
const GRACE = DAY
const SEGMENT = BigInt(WAL_CLUSTER.walSegmentSize)
const context = { report: silent, signal: new AbortController().signal }
const directory = mkdtempSync(join(tmpdir(), 'pgsluice-retention-'))

const numberAt = (lsn: bigint): number => Number(lsn / SEGMENT)
const numberOfName = (name: string): number => parseInt(name.slice(8, 16), 16) * 4096 + parseInt(name.slice(16), 16)
const isClean = ({ ending }: PastBackup): boolean => ending === 'good' || ending === 'acknowledged'
const isListed = ({ ending }: PastBackup): boolean => !['failed', 'killed', 'running', 'unfinished'].includes(ending)
const isInUse = ({ ending }: PastBackup): boolean => ending === 'running' || ending === 'unfinished'

/** Names of WAL segments, `timeline/number`, that are stored. */
function storedWal(history: RetentionHistory): Set<string> {
  const names = new Set<string>()
  for (const key of history.storage.keys()) {
    const [, name] = /\/wal\/[0-9A-F]{8}\/[0-9A-F]{8}\/([0-9A-F]{24})\.zst$/.exec(key) ?? []
    if (name) names.add(`${parseInt(name.slice(0, 8), 16)}/${numberOfName(name)}`)
  }
  return names
}

/** The timelines from the one of a backup down to `timeline`, or undefined where recovery cannot go from one to the other. */
function pathOf(history: RetentionHistory, backup: PastBackup, timeline: number): number[] | undefined {
  const path = [timeline]
  while (path[0] !== backup.timeline) {
    const { parent, fork } = history.timelines.get(path[0]!)!
    if (parent === undefined || (parent === backup.timeline && fork < backup.stop)) return undefined
    path.unshift(parent)
  }
  return path
}

/** All `timeline/number` that recovery from a backup gets to, over stored segments only: each up to its first gap. */
function reachedFrom(history: RetentionHistory, backup: PastBackup, stored: ReadonlySet<string>): Set<string> {
  const reached = new Set<string>()
  for (const timeline of history.timelines.keys()) {
    const path = pathOf(history, backup, timeline)
    if (!path) continue
    let number = numberAt(backup.start)
    walk: for (const [index, own] of path.entries()) {
      const next = path[index + 1]
      const left = next === undefined ? Infinity : numberAt(history.timelines.get(next)!.fork)
      for (; number < left; number++) {
        if (!stored.has(`${own}/${number}`)) break walk
        reached.add(`${own}/${number}`)
      }
    }
  }
  return reached
}

/** A policy of one to three parts. */
function somePolicy(history: RetentionHistory): RetentionPolicy {
  const policy: RetentionPolicy = {}
  const parts: (() => void)[] = [
    () => (policy.keepFull = 1 + numberBelow(history, 4)),
    () => (policy.keepDays = 1 + numberBelow(history, 10)),
    () => (policy.keepDaily = 1 + numberBelow(history, 5)),
    () => (policy.keepHourly = 1 + numberBelow(history, 8)),
    () => (policy.keepWeekly = 1 + numberBelow(history, 3)),
    () => (policy.keepMonthly = 1 + numberBelow(history, 3)),
    () => (policy.keepYearly = 1 + numberBelow(history, 2)),
    () => (policy.maxSizeBytes = 5000 + numberBelow(history, 30_000)),
  ]
  for (let part = 0; part <= numberBelow(history, 3); part++) history.pick(parts)()
  return policy
}

function numberBelow(history: RetentionHistory, below: number): number {
  return history.pick(Array.from({ length: below }, (_, index) => index))
}

async function runExpire(
  history: RetentionHistory,
  policy: RetentionPolicy,
  options: { dryRun?: boolean } = {},
): Promise<ExpireResult> {
  const run = { policy, graceMs: GRACE, now: history.storage.clock, ...options }
  return expireCluster(history.storage, WAL_CLUSTER, run, context)
}

/** Runs until the end, killed at that deletion first where there is one. */
async function runKilled(
  history: RetentionHistory,
  deletions: number | undefined,
  work: () => Promise<unknown>,
): Promise<void> {
  if (deletions !== undefined) {
    history.storage.deletionsLeft = deletions
    await work().catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error
    })
    history.storage.deletionsLeft = Infinity
  }
  await work()
}

const isoPrefix = (length: number) => (time: number) => new Date(time).toISOString().slice(0, length)
/** Texts that two times share in the same period; 1970 began on a Thursday. */
const PERIODS: readonly (readonly [keyof RetentionPolicy, (time: number) => string])[] = [
  ['keepHourly', isoPrefix(13)],
  ['keepDaily', isoPrefix(10)],
  ['keepWeekly', (time) => String(Math.floor((time / DAY + 3) / 7))],
  ['keepMonthly', isoPrefix(7)],
  ['keepYearly', isoPrefix(4)],
]

/** The newest good backup of each of the last periods that have one. */
function ofPeriods(policy: RetentionPolicy, clean: readonly PastBackup[]): PastBackup[] {
  return PERIODS.flatMap(([name, periodOf]) => {
    const newest = new Map(clean.map((backup) => [periodOf(backup.stopTime), backup]))
    const count = policy[name] ?? 0
    return count === 0 ? [] : [...newest.values()].slice(-count)
  })
}

/** The newest good backups that fit, those that are not good taking their room, too. */
function fitting({ maxSizeBytes = 0 }: RetentionPolicy, listed: readonly PastBackup[]): PastBackup[] {
  let bytes = 0
  return listed.toReversed().filter((backup) => (bytes += backup.bytes) <= maxSizeBytes && isClean(backup))
}

/** Promises that no policy may break, checked on what is stored. */
function assertKept(
  history: RetentionHistory,
  policy: RetentionPolicy,
  result: Pick<ExpireResult, never> & { now: number },
  before: ReadonlySet<string>,
): void {
  const { storage } = history
  const stored = storedWal(history)
  const listed = history.backups.filter(isListed).sort((a, b) => a.stopTime - b.stopTime)
  const clean = listed.filter(isClean)
  const edge = policy.keepDays === undefined ? Infinity : result.now - policy.keepDays * DAY
  const exists = ({ id }: PastBackup): boolean => storage.objects.has(`${WAL_CLUSTER.name}/backups/${id}.json`)

  const newest = policy.keepFull === undefined ? [] : clean.slice(-policy.keepFull)
  const window = clean.filter(({ stopTime }) => stopTime >= edge)
  const apart = [...ofPeriods(policy, clean), ...fitting(policy, listed)]
  const pinned = listed.filter(({ isPinned }) => isPinned)
  for (const backup of [...newest, ...window, ...apart, ...pinned, ...clean.slice(-1)])
    assert.ok(exists(backup), `backup ${backup.id} must be kept`)
  if (clean.length === 0) for (const backup of listed) assert.ok(exists(backup), 'there is no good one')

  // every backup that is listed, running or waiting has all that it needs
  for (const backup of history.backups.filter((each) => isInUse(each) || (isListed(each) && exists(each)))) {
    assert.ok(storage.objects.has(`${WAL_CLUSTER.name}/base/${backup.id}/00000.tar.zst`), 'its data')
    for (let number = numberAt(backup.start); number <= numberAt(backup.stop); number++)
      assert.ok(stored.has(`${backup.timeline}/${number}`), `WAL ${backup.timeline}/${number} of backup ${backup.id}`)
  }
  // from those that recovery goes on from, it gets as far as before, along every timeline
  const isWindowOpen = policy.keepFull === undefined && policy.keepDays === undefined
  const onward = [...newest, ...window, ...clean.slice(-1), ...(isWindowOpen ? apart : [])]
  for (const backup of [...onward, ...history.backups.filter(isInUse)]) {
    const was = reachedFrom(history, backup, before)
    const is = reachedFrom(history, backup, stored)
    for (const place of was) assert.ok(is.has(place), `${place} could be recovered from ${backup.id}`)
  }
  // every instant of the window that could be recovered still can be
  const reachable = (wal: ReadonlySet<string>, backups: readonly PastBackup[]): Set<string> =>
    new Set(
      backups.flatMap((backup) => [...reachedFrom(history, backup, wal)].filter((place) => isAfter(place, backup))),
    )
  const isAfter = (place: string, backup: PastBackup): boolean => {
    const [timeline, number] = place.split('/').map(Number) as [number, number]
    return timeline !== backup.timeline || number > numberAt(backup.stop)
  }
  if (policy.keepDays !== undefined) {
    const now = reachable(stored, clean.filter(exists))
    for (const place of reachable(before, clean)) {
      const [timeline, number] = place.split('/').map(Number) as [number, number]
      const time = history.timelines.get(timeline)!.stored.get(number)!
      if (time >= edge) assert.ok(now.has(place), `${place}, stored within the window, can be recovered no more`)
    }
  }
}

/** Nothing is left that nothing needs. */
function assertNothingElse(history: RetentionHistory, policy: RetentionPolicy, result: ExpireResult): void {
  const { storage } = history
  const keys = storage.keys().map((key) => key.slice(WAL_CLUSTER.name.length + 1))
  const listed = new Set(keys.flatMap((key) => /^backups\/(.*)\.json$/.exec(key)?.[1] ?? []))
  const inUse = history.backups.filter(isInUse)
  const alive = new Set([...listed, ...inUse.map(({ id }) => id)])
  for (const key of keys) {
    const [, folder, id] = /^(base|running|pins|proofs)\/([^/]+)\//.exec(key) ?? []
    const isWaiting = result.folders.some((each) => each.id === id && each.when === 'later')
    if (folder) assert.ok(alive.has(id!) || isWaiting, `${key} belongs to nothing`)
  }
  const isOwnOnly = ({ reasons }: ExpireResult['backups'][number]): boolean => {
    const hasWindow = policy.keepFull !== undefined || policy.keepDays !== undefined
    return reasons.every(
      (reason) =>
        reason === 'pinned' ||
        reason.startsWith('not good, but no older') ||
        (hasWindow && /of its|within the size/.test(reason)),
    )
  }
  const byId = new Map(history.backups.map((backup) => [backup.id, backup]))
  const kept = result.backups.filter(({ action }) => action === 'keep')
  const starts = [...kept.filter((each) => !isOwnOnly(each)).map(({ id }) => byId.get(id)!), ...inUse]
  const floor = Math.min(...starts.map(({ start }) => numberAt(start)))
  for (const place of storedWal(history)) {
    const [timeline, number] = place.split('/').map(Number) as [number, number]
    const isOwn = kept.some(({ id }) => {
      const backup = byId.get(id)!
      return backup.timeline === timeline && number >= numberAt(backup.start) && number <= numberAt(backup.stop)
    })
    const isAhead = starts.some((backup) => {
      const from = backup.timeline === timeline ? backup.start : history.timelines.get(timeline)!.fork
      const origin = isInUse(backup) ? { ...backup, stop: backup.start } : backup
      return pathOf(history, origin, timeline) !== undefined && number >= numberAt(from)
    })
    // the window has moved on, and what left it since is announced
    const isWaiting = result.wal.some(({ timeline: of, first, last, when }) => {
      return of === timeline && when === 'later' && number >= numberOfName(first) && number <= numberOfName(last)
    })
    if (isOwn || isAhead || isWaiting || starts.length === 0) continue
    // an older one of the same family would have gone
    assert.ok(number >= floor, `${place} is needed by nothing, and older than everything`)
    assert.ok(!starts.some((backup) => backup.timeline === timeline), `${place} is before all backups of its timeline`)
  }
}

/** Lives through all of them. */
async function playAll(): Promise<{ expired: number; walDeleted: number }> {
  let expired = 0
  let walDeleted = 0
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const history = new RetentionHistory(seed, directory)
    await history.play()
    const { storage } = history
    const policy = somePolicy(history)
    const before = storedWal(history)
    const killAt = history.chance(50) ? numberBelow(history, 12) : undefined
    try {
      const beforeKeys = storage.keys()
      const planned = await runExpire(history, policy, { dryRun: true })
      assert.deepEqual(storage.keys(), beforeKeys, 'a dry run changes nothing')
      const first = { now: history.now }
      await runKilled(history, killAt, () => runExpire(history, policy))
      const gone = beforeKeys.filter((key) => !storage.objects.has(key))
      const records = planned.backups.filter(({ action }) => action === 'expire')
      assert.deepEqual(
        gone,
        records.map(({ id }) => `${WAL_CLUSTER.name}/backups/${id}.json`).sort(),
        'announced, and retracted',
      )
      expired += records.length
      assertKept(history, policy, { ...planned, ...first }, before)

      // backups in progress beat on; then what was announced goes
      storage.clock = new Date(history.now + GRACE)
      for (const { id } of history.backups.filter(({ ending }) => ending === 'running'))
        for (const [key, object] of storage.objects)
          if (key.includes(`/running/${id}/`)) object.lastModified = storage.clock
      const later = await runExpire(history, policy, { dryRun: true })
      const keysBefore = storage.keys()
      const deletedNow = later.wal.filter(({ when }) => when === 'now')
      await runKilled(history, killAt, () => runExpire(history, policy))
      const walGone = keysBefore.filter((key) => key.includes('/wal/') && !storage.objects.has(key))
      assert.equal(
        walGone.length,
        deletedNow.reduce((sum, { files }) => sum + files, 0),
        'as the dry run said',
      )
      walDeleted += walGone.length
      for (const { id } of records)
        assert.ok(!storage.keys().some((key) => key.includes(`/${id}/`)), `something of backup ${id} is left`)
      assertKept(history, policy, { ...later, now: storage.clock.getTime() }, before)

      // what the second run has announced, and what gc finds
      for (let round = 0; round < 2; round++) {
        for (const { id } of history.backups.filter(({ ending }) => ending === 'running'))
          for (const [key, object] of storage.objects)
            if (key.includes(`/running/${id}/`)) object.lastModified = storage.clock
        const run = { graceMs: GRACE, now: storage.clock }
        await runKilled(history, killAt, () => collectLeftovers(storage, WAL_CLUSTER, run, context))
        const result = await runExpire(history, policy)
        assertKept(history, policy, { ...result, now: storage.clock.getTime() }, before)
        if (round === 1) assertNothingElse(history, policy, result)
        storage.clock = new Date(storage.clock.getTime() + GRACE)
      }
    } catch (error) {
      throw new Error(`seed ${seed}, policy ${JSON.stringify(policy)}`, { cause: error })
    }
  }
  return { expired, walDeleted }
}

// before the runner is there: it watches every promise, and there are millions
const played = await playAll()
  .finally(() => {
    rmSync(directory, { recursive: true })
  })
  .then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )

test(`${HISTORIES} random histories: what is promised stays, all else goes, and the dry run says what is done`, () => {
  if ('error' in played) throw played.error
  const { expired, walDeleted } = played.value
  assert.ok(expired > HISTORIES && walDeleted > HISTORIES, `${expired} backups and ${walDeleted} WAL files is too few`)
})
