/**
 * --nice: everybody else on this host goes first.
 *
 * On Linux a priority belongs to a thread, and a new thread takes that of the thread that makes it: so every thread that
 * is there is set, at the very start, and worker threads come with it. Node.js cannot set the priority of reads and writes;
 * ionice (util-linux) can, from outside. What cannot be done is said, and the command goes on.
 */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'
import { promisify } from 'node:util'
import { reasonOf } from '../errors.js'
import type { Report } from '../report.js'

/** As nice(1) does where nothing is said. */
const NICENESS = 10
/** Best effort, the lowest of it: idle could hold up a backup, and its session with the server, for ever. */
const IO_CLASS = ['-c', '2', '-n', '7'] as const

/** Lowers the priority of this process, never raises it; a warning for each part that this host cannot do. */
export async function lowerPriority(report: Report): Promise<void> {
  const threads = threadIds()
  try {
    for (const id of threads) if (getPriority(id) < NICENESS) setPriority(id, NICENESS)
  } catch (error) {
    report({ type: 'warning', message: `--nice: the priority of the CPU stays as it is: ${reasonOf(error)}` })
  }
  try {
    await promisify(execFile)('ionice', [...IO_CLASS, '-p', ...threads.map((id) => String(id || process.pid))])
  } catch (error) {
    report({
      type: 'warning',
      message: `--nice: the priority of reads and writes stays as it is: ${reasonOf(error)}`,
      hint: 'It is set by ionice, of util-linux. --max-rate limits them on any host.',
    })
  }
}

/** Where there is no /proc, the priority belongs to the process (0: this one). */
function threadIds(): number[] {
  try {
    return readdirSync('/proc/self/task').map(Number)
  } catch {
    return [0]
  }
}
