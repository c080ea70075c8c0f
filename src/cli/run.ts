/** Parses the command line and runs what it says. */
import { CommanderError } from 'commander'
import { VERSION } from '../commands/version.js'
import { EXIT_CODES, EXIT_FETCH_FAILED } from '../errors.js'
import { setExitCode } from './exit.js'
import { createProgram } from './program.js'

/** Runs one command line; sets the exit code of the process. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    await createProgram(VERSION).parseAsync([...argv])
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    // help and version end with 0; commander has printed what was wrong with everything else
    const verb = argv[2] === 'wal' ? argv[3] : undefined
    const wrongUsage = verb === 'fetch' ? EXIT_FETCH_FAILED : verb === 'fetch-ahead' ? 1 : EXIT_CODES.usage.exit
    setExitCode(error.exitCode === 0 ? 0 : wrongUsage)
  }
}
