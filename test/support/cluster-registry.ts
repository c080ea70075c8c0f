/**
 * The clusters that this process runs, so that none outlives it.
 *
 * A test that leaves a server running fails its file: at exit the server is killed, its directory removed, and the exit
 * code set. A process that was itself killed cannot do that; the next test run finds what it left and clears it away.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import path from 'node:path'
import { commandLine, isRunning, killTree } from './processes.js'
import { baseDirectory } from './server-user.js'

const PREFIX = 'c-'
const running = new Map<number, string>()
const directories = new Set<string>()
let installed = false

/** Makes the home directory of a new cluster. It goes when this process ends, at the latest. */
export function newHome(): string {
  if (!installed) {
    installed = true
    process.on('exit', failOnLeftovers)
    sweepHomes()
  }
  const directory = mkdtempSync(path.join(baseDirectory(), `${PREFIX}${process.pid}-`))
  directories.add(directory)
  return directory
}

/** Removes the home directory of a cluster that has ended. */
export function removeHome(directory: string): void {
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  directories.delete(directory)
}

/** Notes that a postmaster runs on a data directory. */
export function noteRunning(postmaster: number, pgdata: string): void {
  running.set(postmaster, pgdata)
}

/** Notes that a postmaster has ended. */
export function noteEnded(postmaster: number): void {
  running.delete(postmaster)
}

function failOnLeftovers(): void {
  for (const [postmaster, pgdata] of running) {
    process.stderr.write(`a test left a PostgreSQL server running on "${pgdata}" (process ${postmaster}); killed\n`)
    killTree(postmaster)
    process.exitCode = 1
  }
  for (const directory of directories) rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}

/** Clears away what test runs left that were killed themselves: only servers whose command line names that directory. */
function sweepHomes(): void {
  const base = baseDirectory()
  for (const name of readdirSync(base)) {
    const owner = /^(?:c|building)-(\d+)-/.exec(name)?.[1]
    if (owner === undefined || isRunning(Number(owner))) continue
    const home = path.join(base, name)
    const pidFile = path.join(home, 'data', 'postmaster.pid')
    if (existsSync(pidFile)) {
      const postmaster = Number.parseInt(readFileSync(pidFile, 'utf8'), 10)
      if (commandLine(postmaster).includes(home)) killTree(postmaster)
    }
    rmSync(home, { recursive: true, force: true, maxRetries: 5 })
  }
}
