/** A real server in recovery: how long it waits for each segment that its restore_command delivers. */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { verifyLedger } from '../../test/support/ledger.js'
import { startCluster } from '../../test/support/postgres.js'
import { giveToServerUser } from '../../test/support/server-user.js'
import { waitUntil } from '../../test/support/wait.js'
import { mean } from './render-table.js'
import { backUp, forget, restoreCopy, sceneOf } from './rounds.js'
import { archiveAll, writeWal } from './source.js'
import type { Bench, Turn } from './rounds.js'
import type { Store } from './stores.js'
import type { Scene, Tool } from './tool.js'

/** Calls until whatever works ahead has begun; they are told, and not counted. */
const COLD = 5
const RECOVERY_MS = 600_000

/**
 * Backs up, lets the source archive `segments` more, restores, and lets the copy recover with a restore_command that notes the
 * milliseconds of each call.
 */
export async function recover(bench: Bench, store: Store, tool: Tool, turn: Turn, segments: number): Promise<void> {
  const scene = sceneOf(bench, store, tool, turn)
  const { cluster } = bench.source
  try {
    turn.subject = 'recovery'
    await backUp(bench, store, tool, scene, turn)
    await writeWal(cluster, segments)
    await archiveAll(cluster)
    const { target } = await restoreCopy(store, tool, scene)
    const log = await timeRestoreCommand(tool, scene, target)
    const began = performance.now()
    const copy = await startCluster({
      major: cluster.major,
      directory: target,
      env: tool.environment({ ...scene, pgdata: target, server: undefined }),
      settings: { archive_mode: 'off', shared_buffers: '256MB' },
    })
    try {
      await waitUntil('the end of recovery', () => /archive recovery complete/.test(copy.logText()), RECOVERY_MS)
      const seconds = (performance.now() - began) / 1000
      await verifyLedger(copy, bench.source.acknowledged)
      const calls = callsIn(log)
      bench.results.recoveries ??= []
      bench.results.recoveries.push({ tool: tool.name, round: turn.round, seconds, cold: COLD, calls })
      bench.progress(
        `round ${turn.round}: ${tool.name}, recovery: ${mean(calls.slice(COLD)).toFixed(1)} ms a segment, ${seconds.toFixed(1)} s`,
      )
    } finally {
      await copy.destroy()
    }
  } finally {
    await forget(bench, store, tool, scene)
  }
}

/** Puts a clock around the restore_command of a restored directory. Returns where it writes to. */
async function timeRestoreCommand(tool: Tool, scene: Scene, target: string): Promise<string> {
  const [script, log] = [path.join(scene.work, 'restore-command'), path.join(scene.work, 'restore-times')]
  const command = tool
    .restoreCommand({ ...scene, pgdata: target, server: undefined }, true)
    .replace('%f', '"$1"')
    .replace('"%p"', '"$2"')
  const lines = [
    'began=$EPOCHREALTIME',
    command,
    'code=$?',
    'ended=$EPOCHREALTIME',
    `echo "$1 $code $(( \${ended/./} - \${began/./} ))" >> '${log}'`,
    'exit "$code"',
  ]
  writeFileSync(script, `${lines.join('\n')}\n`)
  appendFileSync(path.join(target, 'postgresql.auto.conf'), `restore_command = 'bash ${script} %f "%p"'\n`)
  if (tool.leavesRecoveryToUser) writeFileSync(path.join(target, 'recovery.signal'), '')
  await giveToServerUser(scene.work)
  return log
}

/**
 * Milliseconds of the first call for each segment, in order. To end recovery the server asks for the last one a second time,
 * which nobody has fetched in advance.
 */
function callsIn(log: string): number[] {
  const lines = readFileSync(log, 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([name = '', code]) => /^[0-9A-F]{24}$/.test(name) && code === '0')
  const first = new Map(lines.reverse().map(([name, , microseconds]) => [name, Number(microseconds) / 1000]))
  return [...first.values()].reverse()
}
