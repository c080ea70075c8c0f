/** Measures one command: its process tree, the S3 server and PostgreSQL beside it. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { ROOT } from '../../test/support/oracles.js'
import { childrenOf } from '../../test/support/processes.js'
import { runAsServerUser, runProgram } from '../../test/support/server-user.js'
import type { TreeUsage } from './results.js'

/** What to run, and beside what. */
export interface Measurable {
  command: readonly string[]
  env: Readonly<Record<string, string>>
  cwd: string
  /** A file for the result that the server's user may write. */
  out: string
  /** Process ids of the S3 servers, and the postmaster's. */
  store: readonly number[]
  postmaster: number | undefined
  /** Whether the command begins a session, as under cron and systemd. */
  ownSession?: boolean
}

/** What it cost. */
export interface Measured {
  /** When the command began, in milliseconds since 1970: early by the start of Python, some hundredths of a second. */
  began: number
  usage: TreeUsage
  storeCpu: number | undefined
  serverCpu: number | undefined
  flush: number
}

/** Of /proc/PID/stat; the same on every Linux that Node.js runs on. */
const TICKS_PER_SECOND = 100
/**
 * Runs a command as the servers' user, with nothing left to be written to disk before it. Rejects with what it said when
 * it fails.
 */
export async function measure(what: Measurable): Promise<Measured> {
  await runProgram('sync', [])
  const before = { store: cpuOfAll(what.store), server: cpuOfTree(what.postmaster) }
  const session = what.ownSession ? ['--own-session'] : []
  const args = [path.join(ROOT, 'scripts/bench/measure-tree.py'), ...session, what.out, ...what.command]
  const began = Date.now()
  const { exitCode, stdout, stderr } = await runAsServerUser('python3', args, { cwd: what.cwd, env: what.env })
  if (exitCode !== 0) {
    throw new Error(`"${what.command.join(' ')}" ended with ${exitCode}: ${`${stdout}${stderr}`.trim().slice(-2000)}`)
  }
  const after = { store: cpuOfAll(what.store), server: cpuOfTree(what.postmaster) }
  const ended = performance.now()
  await runProgram('sync', [])
  return {
    began,
    usage: JSON.parse(readFileSync(what.out, 'utf8')) as TreeUsage,
    storeCpu: what.store.length === 0 ? undefined : after.store - before.store,
    serverCpu: what.postmaster === undefined ? undefined : after.server - before.server,
    flush: (performance.now() - ended) / 1000,
  }
}

function cpuOfAll(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + cpuOf(pid), 0)
}

/** What ended below the root has passed its time on to its parent. */
function cpuOfTree(root: number | undefined): number {
  if (root === undefined) return 0
  return childrenOf(root).reduce((sum, pid) => sum + cpuOfTree(pid), cpuOf(root))
}

/** Seconds that a process and its ended children have used; 0 when it has ended. */
function cpuOf(pid: number): number {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return 0
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  // utime, stime, cutime and cstime are the fields 14 to 17, and these begin with the third
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND
}
