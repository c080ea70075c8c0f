/** Looks at and ends the processes of a test server; synchronous, since it also has to work while this process exits. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** Whether a process runs. One that has ended but was not yet reaped by its parent does not. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  return statusOf(pid)?.state !== 'Z'
}

/** The command line of a process; empty when there is no such process. */
export function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

/** The direct children of a process. */
export function childrenOf(parent: number): number[] {
  if (process.platform !== 'linux') {
    return execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' })
      .trim()
      .split('\n')
      .map((line) => line.trim().split(/\s+/).map(Number))
      .flatMap(([pid, ppid]) => (ppid === parent && pid !== undefined ? [pid] : []))
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statusOf(pid)?.parent === parent)
}

/**
 * Ends a postmaster and all its backends in one blow, as a loss of power would. The postmaster is stopped first, so that
 * it can neither start a new backend nor tidy up after those that die. Returns the processes, to wait for their end.
 */
export function killTree(postmaster: number): number[] {
  try {
    process.kill(postmaster, 'SIGSTOP')
  } catch {
    return []
  }
  const pids = [...childrenOf(postmaster), postmaster]
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
  return pids
}

function statusOf(pid: number): { state: string; parent: number } | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    // "pid (name) state ppid …"; the name may itself contain parentheses.
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', parent: Number(fields[1]) }
  } catch {
    return undefined
  }
}
