/**
 * Prove backups restorable, without restoring them: cheap before dear, everything that is wrong collected, and a proof kept
 * of each look (V1–V8).
 */
import { availableParallelism } from 'node:os'
import { planResources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'
import { findBackup, listBackupIds } from '../repository/catalog.js'
import { clusterNames, findCluster } from '../repository/clusters.js'
import { backupRecordKey, parseClusterName } from '../repository/layout.js'
import { readProofStates, writeProof, type Fault, type ProofLevel } from '../repository/proofs.js'
import { findInUse, listLastBeats } from '../repository/runs.js'
import { storeNow } from '../storage/store-clock.js'
import type { Storage } from '../storage/storage.js'
import { WorkerPool } from '../workers/pool.js'
import { warnOfUnreadable, type CommandContext } from './context.js'
import { openToWrite, storageOptions } from './open-repository.js'
import { reportProgress, type Position } from './progress.js'
import { verifyBackup } from './verify-backup.js'
import type { RunJobs } from './verify-content.js'
import { WalReadings } from './verify-recovery-wal.js'

/** Faults that a proof keeps; it holds the number of all. */
const KEPT_FAULTS = 100

/** Options of {@link verify}. */
export interface VerifyOptions {
  /** An id, the unique beginning of one, a label (its newest), `latest`, or `all`. Default `all`. */
  backup?: string | undefined
  /** How deep. Default `content`. */
  level?: ProofLevel | undefined
  /** Backups with a proof at that level that is younger than that many milliseconds are not looked at again. */
  sinceMs?: number | undefined
}

/** One backup. */
export interface VerifiedBackup {
  cluster: string
  id: string
  /** Missing where the record is damaged. */
  label?: string
  /** `recent`: proven a short time ago, not looked at again. `deleted`: while it was looked at. */
  state: 'ok' | 'faults' | 'recent' | 'deleted'
  /** When it was looked at; RFC 3339 in UTC. */
  time: string
  seconds: number
  faults: Fault[]
  faultCount: number
  /** What is remarkable and no fault. */
  remarks: string[]
  /** Whether the proof is kept in the repository. */
  proofKept: boolean
}

/** A backup in progress: no error (V4). */
export interface RunningBackup {
  cluster: string
  id: string
  host: string
}

/** What was found. */
export interface VerifyAnswer {
  /** No fault in any of them. */
  ok: boolean
  level: ProofLevel
  backups: VerifiedBackup[]
  running: RunningBackup[]
}

/** Verifies a backup, or all. Rejects where it could not look; no proof says then that it had. */
export async function verify(
  settings: Settings,
  options: VerifyOptions,
  context: CommandContext,
): Promise<VerifyAnswer> {
  const resources = planResources(settings, availableParallelism())
  const { storage } = await openToWrite(settings, resources, context.signal)
  const pool = new WorkerPool({
    threads: resources.jobs,
    storage: storageOptions(settings, resources),
    graceMs: settings.requestTimeoutMs + 30_000,
  })
  const [told, stopTelling] = withProgress(pool, context)
  try {
    const run: RunJobs = (jobs, signal) => pool.run(jobs, signal)
    return await verifyWith(storage, { ...options, cluster: settings.cluster, run }, told)
  } finally {
    stopTelling()
    await pool.close()
    storage.close()
  }
}

/** {@link verify} in a repository that is open, with whatever runs the jobs. */
export async function verifyWith(
  storage: Storage,
  options: VerifyOptions & { cluster: string | undefined; run: RunJobs },
  context: CommandContext,
): Promise<VerifyAnswer> {
  const { level = 'content', sinceMs, run } = options
  const { signal } = context
  const answer: VerifyAnswer = { ok: true, level, backups: [], running: [] }
  for (const { cluster, ids } of await wantedBackups(storage, options, context)) {
    const states = sinceMs === undefined ? undefined : await readProofStates(storage, cluster, signal)
    const readings = new WalReadings()
    for (const id of ids) {
      signal.throwIfAborted()
      const state = states?.get(id)
      const proven = state?.state === 'failed' ? undefined : state?.proven[level]
      if (proven !== undefined && sinceMs !== undefined && Date.now() - Date.parse(proven) < sinceMs) {
        context.report({ type: 'step', message: `backup ${id} was proven at ${proven}, and is not looked at again` })
        const nothing = { faults: [], faultCount: 0, remarks: [], seconds: 0, proofKept: true }
        answer.backups.push({ cluster, id, state: 'recent', time: proven, ...nothing })
        continue
      }
      const found = await verifyOne(storage, cluster, id, { level, run, readings }, context)
      answer.backups.push(found)
      if (found.state === 'faults') answer.ok = false
    }
    answer.running.push(...(await runningBackups(storage, cluster, signal)))
  }
  return answer
}

async function verifyOne(
  storage: Storage,
  cluster: string,
  id: string,
  look: { level: ProofLevel; run: RunJobs; readings: WalReadings },
  context: CommandContext,
): Promise<VerifiedBackup> {
  const began = performance.now()
  const { record, faults, remarks } = await verifyBackup(storage, cluster, id, look, context)
  const time = new Date().toISOString()
  const seconds = Math.round((performance.now() - began) / 100) / 10
  const shared = { cluster, id, ...(record && { label: record.label }), time, seconds, remarks }
  // what expire deletes meanwhile is no fault; its record goes first
  if (faults.length > 0 && (await storage.head(backupRecordKey(cluster, id), { signal: context.signal })) === undefined)
    return { ...shared, state: 'deleted', faults: [], faultCount: 0, proofKept: false }
  for (const fault of faults) context.report({ type: 'fault-found', id, ...fault })
  const ok = faults.length === 0
  const proof = { id, kind: 'verify' as const, level: look.level, time, ok, faultCount: faults.length }
  let proofKept = true
  try {
    await writeProof(storage, cluster, { ...proof, faults: faults.slice(0, KEPT_FAULTS) }, context.signal)
  } catch (error) {
    context.signal.throwIfAborted()
    if (!(error instanceof ToolError)) throw error
    // what was found is worth more than the note of it
    proofKept = false
    context.report({ type: 'warning', message: `the proof of backup ${id} could not be kept: ${reasonOf(error)}` })
  }
  context.report({ type: 'backup-verified', id, ok, faults: faults.length })
  return { ...shared, state: ok ? 'ok' : 'faults', faults, faultCount: faults.length, proofKept }
}

/** Which backups of which clusters. A cluster whose identity is damaged is looked at all the same, by its name. */
async function wantedBackups(
  storage: Storage,
  { backup = 'all', cluster: named }: VerifyOptions & { cluster: string | undefined },
  context: CommandContext,
): Promise<{ cluster: string; ids: string[] }[]> {
  const { signal } = context
  const names: string[] = []
  if (named !== undefined && parseClusterName(named)) names.push(named)
  else if (named !== undefined) names.push((await findCluster(storage, named, signal)).name)
  else for await (const name of clusterNames(storage, signal)) names.push(name)
  const listed: { cluster: string; ids: string[] }[] = []
  for (const cluster of names) {
    const ids = await listBackupIds(storage, cluster, signal)
    if (ids.length > 0) listed.push({ cluster, ids })
  }
  const [first] = listed
  if (!first)
    throw new ToolError('usage', `"${storage.url}" has no backup${named === undefined ? '' : ` of "${named}"`}`)
  if (backup === 'all') return listed
  if (listed.length > 1) {
    throw new ToolError('usage', `"${storage.url}" holds backups of ${listed.length} clusters`, {
      hint: `Name one with --cluster: ${listed.map(({ cluster }) => cluster).join(', ')}.`,
    })
  }
  // by its id also where its record is damaged
  if (first.ids.includes(backup)) return [{ cluster: first.cluster, ids: [backup] }]
  const { id } = await findBackup(storage, first.cluster, backup, warnOfUnreadable(context), signal)
  return [{ cluster: first.cluster, ids: [id] }]
}

async function runningBackups(storage: Storage, cluster: string, signal: AbortSignal): Promise<RunningBackup[]> {
  const beats = await listLastBeats(storage, cluster, signal)
  const committed = new Set(await listBackupIds(storage, cluster, signal))
  const others = [...beats.keys()].filter((id) => !committed.has(id))
  const inUse = await findInUse(storage, cluster, others, beats, await storeNow(storage, signal), signal)
  return inUse
    .filter(({ state }) => state === 'running')
    .map(({ id, host }) => ({ cluster, id, host: host ?? 'unknown' }))
}

/** Tells how far the backup that is being read is. Returns what the reading reports to, and how to end it. */
function withProgress(pool: WorkerPool, { report, signal }: CommandContext): [CommandContext, () => void] {
  const backup = { before: 0, totalBytes: 0 }
  const position: Position = () => {
    const { before, totalBytes } = backup
    return totalBytes > 0 ? { doneBytes: pool.doneBytes - before, totalBytes } : undefined
  }
  const told: CommandContext['report'] = (event) => {
    if (event.type === 'verify-started') Object.assign(backup, { before: pool.doneBytes, totalBytes: event.bytes })
    if (event.type === 'backup-verified') backup.totalBytes = 0
    report(event)
  }
  return [{ report: told, signal }, reportProgress('verify', position, report)]
}
