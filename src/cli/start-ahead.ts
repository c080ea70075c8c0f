/** Starts the process that fetches ahead, from the command line of the one that was called. */
import { spawn } from 'node:child_process'

/** Words before the options of \`wal fetch NAME DEST\`: Node.js, the program, the command, NAME and DEST, as the front has them. */
const FIRST_OPTION = 6

/**
 * Detached, so that it goes on when this one ends, and with no output: a server that collects its log waits at its end until
 * nobody has the pipe open any more. What goes wrong there is told by the next call. Returns the pid.
 */
export function startFetchAhead(name: string): number | undefined {
  const [program = ''] = process.argv.slice(1)
  const options = process.argv.slice(FIRST_OPTION)
  const child = spawn(process.execPath, [program, 'wal', 'fetch-ahead', name, ...options], {
    detached: true,
    stdio: 'ignore',
  })
  // that it could not be started is no failure: nothing is there ahead then
  child.on('error', () => undefined)
  child.unref()
  return child.pid
}
