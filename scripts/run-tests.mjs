/**
 * Runs the compiled tests with node:test:
 *
 *   node scripts/run-tests.mjs [FOLDER_OR_FILE ...] [--test-name-pattern=PATTERN ...] [--test-concurrency=N]
 *
 * Paths are of sources (`test/unit/cli`), all of test/ by default. Only tests that still have their source are run:
 * build/ may hold what was compiled from a file that is gone. A path that leads to no test is an error rather than a
 * success without tests. The longest files come first: "node --test" sorts them by name, and one that takes minutes and
 * comes last leaves the other cores with nothing to do.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { run } from 'node:test'
import { fileURLToPath } from 'node:url'
import reporter from './test-reporter.mjs'

/** Files that take longest, the longest first; measured. What is not named here follows in the order of the names. */
const LONGEST = [
  ...['integration/recovery-matrix', 'integration/recovery-safety', 'integration/memory', 'integration/soak'],
  ...['integration/getting-started', 'integration/recovery-guide', 'integration/wal-fetch', 'faults/backup-s3'],
  ...['integration/restore-kinds', 'faults/backup-process', 'integration/status', 'conformance/real-endpoints'],
  ...['integration/backup-restore', 'integration/fetch-ahead', 'integration/tablespaces', 'integration/by-hand'],
].map((name) => `test/${name}.test.ts`)

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

// Two cores; but the integration tests wait for servers, timeouts and disks as often as they work.
let concurrency = 3
const testNamePatterns = []
for (const option of options) {
  const [, name, value = ''] = /^--test-(name-pattern|concurrency)=(.+)$/.exec(option) ?? []
  if (name === undefined) fail(`unknown option "${option}"`)
  if (name === 'name-pattern') testNamePatterns.push(value)
  else if (/^[1-9]\d*$/.test(value)) concurrency = Number(value)
  else fail(`wrong value "${value}" for --test-concurrency: expected a number`)
}

const gone = LONGEST.filter((file) => !existsSync(join(root, file)))
if (gone.length > 0) fail(`LONGEST names what is not there: ${gone.join(', ')}`)
const wanted = new Set(files.map((file) => relative(root, file)))
const ordered = new Set([...LONGEST.filter((file) => wanted.has(file)), ...wanted])
const abort = new AbortController()
// Signals reach the whole process group from a terminal, but only this process from a supervisor.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => abort.abort())

process.chdir(root)
const events = run({
  files: [...ordered].map((file) => compiled(join(root, file))),
  concurrency,
  // A test file that hangs must not take the whole run with it.
  timeout: 1_800_000,
  signal: abort.signal,
  ...(testNamePatterns.length > 0 ? { testNamePatterns } : {}),
})
events.on('test:fail', () => {
  process.exitCode = 1
})
events.compose(reporter).pipe(process.stdout)

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
