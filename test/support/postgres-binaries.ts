/**
 * Finds the PostgreSQL servers that npm installed for this platform (test/servers/package.json).
 *
 * The packages carry initdb, pg_ctl, postgres and the extensions. Their symbolic links are restored by an install script,
 * which npm may have been told not to run: then it is done here. And where the server's user cannot reach
 * node_modules (a checkout in someone's home), the binaries are copied to where it can.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { baseDirectory, serverEnvironment, serverIds } from './server-user.js'

/** Every major that pgsluice supports (P10). */
const MAJORS = [13, 14, 15, 16, 17, 18] as const

/** The programs of one PostgreSQL server. */
export interface PostgresBinaries {
  major: number
  /** The whole version, such as `18.4`. */
  version: string
  initdb: string
  pgCtl: string
  postgres: string
}

const found = new Map<number, PostgresBinaries | undefined>()

/** The programs of one major. Throws when they are not installed here. */
export function postgresBinaries(major: number): PostgresBinaries {
  if (!found.has(major)) found.set(major, findBinaries(major))
  const binaries = found.get(major)
  if (binaries === undefined) {
    throw new Error(`PostgreSQL ${major} is not installed for ${process.platform}-${process.arch}: run "npm install"`)
  }
  return binaries
}

/**
 * The majors whose servers are installed here. With PGSLUICE_TEST_MAJORS (such as `15,18`) only those; naming one that
 * is not installed is an error, so that a test run cannot lose a major unnoticed.
 */
export function availableMajors(): number[] {
  const chosen = process.env['PGSLUICE_TEST_MAJORS']
  if (chosen !== undefined && chosen !== '') {
    const majors = chosen.split(',').map(Number)
    for (const major of majors) postgresBinaries(major)
    return majors
  }
  const installed = MAJORS.filter((major) => packageDirectory(major) !== undefined)
  if (installed.length === 0) throw new Error('no PostgreSQL server is installed: run "npm install"')
  return installed
}

function packageDirectory(major: number): string | undefined {
  try {
    const entry = createRequire(import.meta.url).resolve(`pg${major}-${process.platform}-${process.arch}`)
    return path.dirname(path.dirname(entry))
  } catch {
    return undefined
  }
}

function findBinaries(major: number): PostgresBinaries | undefined {
  const directory = packageDirectory(major)
  if (directory === undefined) return undefined
  restoreLinks(directory)
  const installed = path.join(directory, 'native')
  const reported = versionOf(installed)
  const native = reported === undefined ? reachableCopy(major, installed) : installed
  const version = reported ?? versionOf(native)
  if (version === undefined) throw new Error(`PostgreSQL ${major} in "${directory}" does not run`)
  const program = (name: string): string => path.join(native, 'bin', name)
  return { major, version, initdb: program('initdb'), pgCtl: program('pg_ctl'), postgres: program('postgres') }
}

/** Makes the links that the package's own install script would have made. Doing it twice, or twice at once, is harmless. */
function restoreLinks(directory: string): void {
  const list = path.join(directory, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[]
  for (const { source, target } of links) {
    const link = path.join(directory, target)
    if (existsSync(link)) continue
    try {
      symlinkSync(path.relative(path.dirname(target), source), link)
    } catch {
      // Another test run made it first, or node_modules is not ours to write: whether the server runs is asked next.
    }
  }
}

function versionOf(native: string): string | undefined {
  const result = spawnSync(path.join(native, 'bin', 'postgres'), ['--version'], {
    ...serverIds(),
    cwd: '/',
    env: serverEnvironment(),
    encoding: 'utf8',
  })
  return result.status === 0 ? /\d+\.\d+/.exec(result.stdout)?.[0] : undefined
}

function reachableCopy(major: number, native: string): string {
  const base = baseDirectory()
  const copy = path.join(base, `binaries-${major}`)
  if (existsSync(copy)) return copy
  const building = mkdtempSync(path.join(base, 'building-'))
  const result = spawnSync('cp', ['-RP', native, path.join(building, 'native')], { encoding: 'utf8' })
  spawnSync('chmod', ['-R', 'a+rX', building])
  if (result.status !== 0) throw new Error(`could not copy PostgreSQL ${major}: ${result.stderr}`)
  try {
    renameSync(path.join(building, 'native'), copy)
  } catch (error) {
    // Someone else's copy got there first; it is as good as ours.
    if (!existsSync(copy)) throw error
  } finally {
    rmSync(building, { recursive: true, force: true })
  }
  return copy
}
