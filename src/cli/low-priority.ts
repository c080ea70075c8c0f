/**
 * --nice: everybody else on this host goes first.
 *
 * On Linux a priority belongs to a thread, and a new thread takes that of the thread that makes it: so every thread that
 * is there is set, at the very start, and worker threads come with it. Node.js cannot set the priority of reads and writes;
 * ionice (util-linux) can, from outside. What cannot be done is said, and the command goes on.
 */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
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
  lowerSession(report)
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

/**
 * Where Linux makes a group of each session (autogroup, sched(7)), niceness counts among the programs of one only, and each
 * server process has its own: the group has to be nice. One that others began holds their programs as well.
 */
function lowerSession(report: Report): void {
  if (contentOf('/proc/sys/kernel/sched_autogroup_enabled').trim() !== '1') return
  const group = '/proc/self/autogroup'
  const niceness = / nice (-?\d+)$/m.exec(contentOf(group))?.[1]
  if (niceness === undefined || Number(niceness) >= NICENESS) return
  // the fourth field behind the name of the program, which may hold anything
  const session = /^.*\) (?:\S+ ){3}(\d+)/s.exec(contentOf('/proc/self/stat'))?.[1]
  const message =
    '--nice: the priority of the session stays as it is, which is what the scheduler of this host looks at'
  if (Number(session) !== process.pid) {
    const hint = 'Begin a session for the command, as cron and systemd do: setsid --wait pgsluice ...'
    report({ type: 'warning', message: `${message}: others are in it`, hint })
    return
  }
  try {
    writeFileSync(group, String(NICENESS))
  } catch (error) {
    report({ type: 'warning', message: `${message}: ${reasonOf(error)}` })
  }
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
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
