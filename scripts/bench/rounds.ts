/** The runs themselves: every tool in turn, each in a place of its own that is gone afterwards. */
import { mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { reasonOf } from '#src/errors.js'
import { giveToServerUser, runProgram } from '../../test/support/server-user.js'
import { measure } from './measure.js'
import { prove, useArchive } from './source.js'
import { clear, storedBytes } from './stores.js'
import { quoted } from './tool.js'
import { runWal, subjectOf, walCases } from './wal-runs.js'
import type { Measured } from './measure.js'
import type { Results, Subject } from './results.js'
import type { Segments, Source } from './source.js'
import type { Store } from './stores.js'
import type { Scene, Tool } from './tool.js'

/** What all rounds share. */
export interface Bench {
  /** A directory of the servers' user. */
  home: string
  source: Source
  jobs: number
  /** Filled as we go. */
  results: Results
  /** Called after each run, to save what there is. */
  progress: (message: string) => void
}

/** One tool's turn; `subject` is what it is at. */
export interface Turn {
  round: number
  turn: number
  work: string
  subject: string
}

/** Goes once over all tools, in reverse order in every second round. */
export async function runRound(
  bench: Bench,
  tools: readonly Tool[],
  round: number,
  play: (tool: Tool, turn: Turn) => Promise<void>,
): Promise<void> {
  const order = round % 2 === 1 ? tools : [...tools].reverse()
  for (const [index, tool] of order.entries()) {
    const work = path.join(bench.home, `run-${round}-${index}`)
    mkdirSync(work)
    await giveToServerUser(work)
    const turn = { round, turn: index + 1, work, subject: 'preparation' }
    try {
      await play(tool, turn)
    } catch (error) {
      bench.results.failures.push({ tool: tool.name, subject: turn.subject, round, reason: reasonOf(error) })
      bench.progress(`${tool.name}, ${turn.subject}: ${reasonOf(error)}`)
    } finally {
      rmSync(work, { recursive: true, force: true })
    }
  }
}

/** A backup and its restore, proven in the first round. */
export async function copyBothWays(bench: Bench, store: Store, tool: Tool, turn: Turn): Promise<void> {
  const scene = sceneOf(bench, store, tool, turn)
  try {
    await backUpAndKeep(bench, store, tool, scene, { turn, subject: 'backup' })
    turn.subject = 'restore'
    const { target, measured } = await restoreCopy(store, tool, scene)
    keep(bench, tool, turn, 'restore', measured, {})
    turn.subject = 'proof'
    if (!bench.results.proofs.some((proof) => proof.tool === tool.name)) {
      bench.results.proofs.push(await prove(bench.source, tool, scene, target))
      bench.progress(`${tool.name}: the restored cluster is what it was`)
    }
  } finally {
    await forget(bench, store, tool, scene)
  }
}

/** A backup into a bucket that keeps nothing. */
export async function copyIntoSink(bench: Bench, sinks: Store, tool: Tool, turn: Turn): Promise<void> {
  const scene = sceneOf(bench, sinks, tool, turn)
  try {
    await backUpAndKeep(bench, sinks, tool, scene, { turn, subject: 'sink backup' })
  } finally {
    await useArchive(bench.source.cluster, '/bin/true')
  }
}

/** Pushes and fetches WAL in every way that the tool has; what a fetch wants was pushed by the case before it. */
export async function moveWal(bench: Bench, store: Store, tool: Tool, turn: Turn, segments: Segments): Promise<void> {
  let scene = sceneOf(bench, store, tool, turn)
  const used: Scene[] = []
  try {
    for (const [index, what] of walCases(tool, segments.names.length).entries()) {
      if (what.verb === 'push') {
        const work = path.join(turn.work, String(index))
        mkdirSync(work)
        scene = { ...scene, server: undefined, work, prefix: `${scene.prefix}-${index}` }
        used.push(scene)
      }
      turn.subject = subjectOf(what)
      const { calls, ...measured } = await runWal(what, tool, scene, bench.source, segments, store.pids)
      keep(bench, tool, turn, subjectOf(what), measured, { calls })
    }
  } finally {
    for (const one of used) await forgetObjects(store, one)
  }
}

async function backUpAndKeep(
  bench: Bench,
  store: Store,
  tool: Tool,
  scene: Scene,
  { turn, subject }: { turn: Turn; subject: Subject },
): Promise<void> {
  turn.subject = subject
  const measured = await backUp(bench, store, tool, scene, turn)
  const stored = tool.usesBucket ? await bytesInBucket(store, scene) : await bytesIn(turn.work)
  keep(bench, tool, turn, subject, measured, { storedBytes: stored })
}

/** Lets the source archive into the scene, and takes a backup; the archive stays until {@link forget}. */
export async function backUp(bench: Bench, store: Store, tool: Tool, scene: Scene, turn: Turn): Promise<Measured> {
  await archiveInto(bench, tool, scene, turn)
  return takeBackup(bench, store, tool, scene, turn)
}

/** Prepares the scene, and lets the source archive into it until {@link forget}. */
export async function archiveInto(bench: Bench, tool: Tool, scene: Scene, turn: Turn): Promise<void> {
  await tool.prepare?.(scene)
  const exports = Object.entries(tool.environment(scene)).map(([name, value]) => `export ${name}=${quoted(value)}; `)
  await useArchive(bench.source.cluster, exports.join('') + tool.archiveCommand(scene, true))
  await giveToServerUser(turn.work)
}

/** Takes a backup into a scene that the source archives into. */
export async function takeBackup(
  bench: Bench,
  store: Store,
  tool: Tool,
  scene: Scene,
  turn: Turn,
  { ownSession = false } = {},
): Promise<Measured> {
  const { cluster } = bench.source
  return measure({
    command: tool.backup(scene),
    env: { ...cluster.env, ...tool.environment(scene) },
    cwd: turn.work,
    out: path.join(turn.work, 'measured'),
    store: store.pids,
    postmaster: cluster.pid,
    ownSession,
  })
}

/** Restores the newest backup of the scene into a directory of its own. */
export async function restoreCopy(
  store: Store,
  tool: Tool,
  scene: Scene,
): Promise<{ target: string; measured: Measured }> {
  const target = path.join(scene.work, 'restored')
  mkdirSync(target, { mode: 0o700 })
  await giveToServerUser(target)
  const measured = await measure({
    command: tool.restore(scene, target),
    env: tool.environment(scene),
    cwd: scene.work,
    out: path.join(scene.work, 'measured'),
    store: store.pids,
    postmaster: undefined,
  })
  return { target, measured }
}

/** Where a turn of a tool happens. */
export function sceneOf(bench: Bench, store: Store, tool: Tool, turn: Turn): Scene {
  const site = store.site(tool.transport)
  if (site === undefined) throw new Error(`the S3 server has no way in by ${tool.transport}`)
  const { cluster } = bench.source
  const prefix = `${path.basename(bench.home)}-${path.basename(turn.work)}`
  return { site, prefix, pgdata: cluster.pgdata, server: cluster.env, work: turn.work, jobs: bench.jobs }
}

function keep(
  bench: Bench,
  tool: Tool,
  turn: Turn,
  subject: Subject,
  { usage, storeCpu, serverCpu, flush }: Measured,
  extra: { storedBytes?: number | undefined; calls?: number[] },
): void {
  const { storedBytes: stored, ...rest } = extra
  const { round, turn: place } = turn
  const run = { tool: tool.name, subject, round, turn: place, ...usage, storeCpu, serverCpu, flush, ...rest }
  bench.results.runs.push({ ...run, storedBytes: stored })
  const cpu = (usage.user + usage.system).toFixed(2)
  bench.progress(`round ${round}: ${tool.name}, ${subject}: ${usage.wall.toFixed(2)} s, ${cpu} s of CPU`)
}

/** The archive must not lead to what is being deleted. */
export async function forget(bench: Bench, store: Store, tool: Tool, scene: Scene): Promise<void> {
  await useArchive(bench.source.cluster, '/bin/true')
  if (tool.usesBucket) await forgetObjects(store, scene)
}

async function forgetObjects(store: Store, scene: Scene): Promise<void> {
  await clear(reachable(store, scene), scene.prefix)
}

async function bytesInBucket(store: Store, scene: Scene): Promise<number | undefined> {
  return await storedBytes(reachable(store, scene), scene.prefix)
}

/** This process does not know the authority of our certificate, and does not need to: both ways lead to one bucket. */
function reachable(store: Store, scene: Scene): Scene['site'] {
  return store.site('http') ?? scene.site
}

async function bytesIn(directory: string): Promise<number> {
  const { stdout } = await runProgram('du', ['-sb', directory])
  return Number.parseInt(stdout, 10)
}
