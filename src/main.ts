#!/usr/bin/env node
/**
 * The entry of the command line. The exit code is a failure before anything else happens, so that a promise that gets
 * lost cannot end the process with success; for `wal fetch` it is one that PostgreSQL never takes for the end of WAL (G1).
 */
import { EXIT_BUG, EXIT_FETCH_FAILED, EXIT_UNFINISHED } from './errors.js'

const words = process.argv.slice(2)
const isFetch = words[0] === 'wal' && words[1] === 'fetch'
const isPush = words[0] === 'wal' && words[1] === 'push'
// may become a child of the server, which takes any code but 0 and 1 for the crash of a process of its own
const isAhead = words[0] === 'wal' && words[1] === 'fetch-ahead'

process.exitCode = isAhead ? 1 : isFetch ? EXIT_FETCH_FAILED : EXIT_UNFINISHED

function die(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`pgsluice: unexpected error, please report it:\n${text}\n`)
  process.exit(isAhead ? 1 : isFetch ? EXIT_FETCH_FAILED : isPush ? EXIT_UNFINISHED : EXIT_BUG)
}

process.on('uncaughtException', die)
process.on('unhandledRejection', die)

// a dynamic import: what fails while our own modules are loaded ends with the code above, too
import('./cli/run.js').then(({ run }) => run(process.argv), die).catch(die)
