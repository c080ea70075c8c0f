/**
 * Loaded into a command by `--import`: at its end, writes the most memory it ever had resident, in KiB, to the file that
 * PEAK_MEMORY_FILE names. VmHWM is of this program alone; what getrusage() says includes who started it (Linux).
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  process.on('exit', () => {
    const peak = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    writeFileSync(process.env['PEAK_MEMORY_FILE'] ?? '', peak ?? '')
  })
}
