/**
 * Runs the compiled tests with node:test:
 *
 *   node scripts/run-tests.mjs [FOLDER_OR_FILE ...] [--test-OPTION=VALUE ...]
 *
 * Paths are of sources (`test/unit/cli`), all of test/ by default. Only tests that still have their source are run:
 * build/ may hold what was compiled from a file that is gone. Files are named one by one since Node.js 20 knows no
 * patterns, and a path that leads to no test is an error rather than a success without tests.
 */
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const options = process.argv.slice(2).filter((argument) => argument.startsWith('--'))
const paths = process.argv.slice(2).filter((argument) => !argument.startsWith('--'))

const files = (paths.length > 0 ? paths : ['test']).flatMap((path) => {
  const found = testsUnder(resolve(path))
  if (found.length === 0) fail(`no test under "${path}"`)
  return found
})

const missing = files.filter((file) => !existsSync(compiled(file)))
if (missing.length > 0) fail(`not compiled, run "npm run build:test": ${missing.join(', ')}`)

const child = spawn(
  process.execPath,
  [
    '--test',
    // Two cores; but the integration tests wait for servers, timeouts and disks as often as they work.
    '--test-concurrency=3',
    // A test file that hangs must not take the whole run with it.
    '--test-timeout=1200000',
    `--test-reporter=${join(root, 'scripts/test-reporter.mjs')}`,
    '--test-reporter-destination=stdout',
    ...options,
    ...new Set(files.map(compiled)),
  ],
  { cwd: root, stdio: 'inherit' },
)
// Signals reach the whole process group from a terminal, but only this process from a supervisor.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => fail(error.message))
child.on('exit', (code) => {
  process.exitCode = code ?? 1
})

/** The test sources in a folder, or the file itself. */
function testsUnder(path) {
  if (!existsSync(path)) return []
  if (statSync(path).isFile()) return path.endsWith('.test.ts') ? [path] : []
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.name !== 'node_modules')
    .flatMap((entry) => testsUnder(join(path, entry.name)))
    .sort()
}

/** Where a test source is compiled to. */
function compiled(file) {
  return join(root, 'build', relative(root, file).replace(/\.ts$/, '.js'))
}

function fail(message) {
  console.error(`run-tests: ${message}`)
  process.exit(1)
}
