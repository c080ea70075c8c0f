/** Finds the processes of the demo that nobody waits for: an archive_command outlives the server that started it. */
import { execFileSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { commandLine, isRunning } from '../../test/support/processes.js'
import { waitUntil } from '../../test/support/wait.js'

/** Kills every process whose command line names `mark`, and waits for their end. */
export async function killLeftovers(mark: string): Promise<void> {
  const found = processIds().filter((pid) => pid !== process.pid && commandLine(pid).includes(mark))
  for (const pid of found) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
  await waitUntil('the last processes to end', () => !found.some(isRunning))
}

function processIds(): number[] {
  if (process.platform === 'linux') {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
  }
  return execFileSync('ps', ['-A', '-o', 'pid='], { encoding: 'utf8' }).trim().split(/\s+/).map(Number)
}
