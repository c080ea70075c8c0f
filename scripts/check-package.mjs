/**
 * Proves that the package works for those who install it, with npm 11 and npm 12: packs what is built, installs the
 * tarball into empty projects, runs its programs, resolves every export, type-checks a program that imports it, and
 * lets publint and attw look at it. Run `npm run build` before.
 *
 * npm 12 runs no install script that was not allowed, so there the first install must leave a program that at least
 * tells its version, and the second, with the script allowed, one whose compression works.
 *
 *   node scripts/check-package.mjs [NPM_MAJOR ...]
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const majors = process.argv.length > 2 ? process.argv.slice(2) : ['11', '12']
const { version, name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
// The resolved path: programs that compare import.meta.url with it must not stumble over a symbolic /tmp.
const work = realpathSync(mkdtempSync(join(tmpdir(), 'pgsluice-package-')))

/** Must be in the tarball, and must not. */
const WANTED = [
  ...['dist/main.js', 'dist/api.js', 'dist/api.d.ts', 'dist/workers/thread.js', 'dist/postgres/page-checksum.wasm'],
  ...[
    'dist/pgsluice-wal',
    'dist/LICENSES.txt',
    'LICENSE',
    'README.md',
    'CHANGELOG.md',
    'package.json',
    'docs/pgsluice.1',
  ],
]
const UNWANTED = /^(test|build|scripts|localstack|examples|node_modules|\.)/

/** Fails where the addon was not built. */
const ZSTD_WORKS = `(await import('zstd-napi')).compress(Buffer.from('x'))`

const CONSUMER = `
import { backup, restore } from '${name}'

// Calls that return a promise of something typed, not of any.
type Typed<F> = F extends (...args: never[]) => Promise<infer R> ? (0 extends 1 & R ? never : F) : never
const verbs: [Typed<typeof backup>, Typed<typeof restore>] = [backup, restore]
console.log(verbs.length)
`

try {
  const { tarball, files } = pack()
  lint(tarball)
  for (const major of majors) tryWith(major, tarball, files)
  console.log(`check-package: ${name} ${version} is fit to be installed with npm ${majors.join(' and ')}`)
} catch (error) {
  console.error(`check-package: ${error.message}`)
  process.exitCode = 1
} finally {
  rmSync(work, { recursive: true, force: true })
}

/** Packs dist/ as it is and looks at what is in the tarball. */
function pack() {
  const output = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', work], { cwd: root })
  // npm 11 prints an array, npm 12 an object by package name.
  const [packed] = Object.values(JSON.parse(output))
  const files = new Map(packed.files.map(({ path, mode }) => [path, mode]))
  const missing = WANTED.filter((path) => !files.has(path))
  if (missing.length > 0) throw new Error(`not in the tarball: ${missing.join(', ')}`)
  const strange = [...files.keys()].filter((path) => UNWANTED.test(path))
  if (strange.length > 0) throw new Error(`should not be in the tarball: ${strange.join(', ')}`)
  const plain = ['dist/main.js', 'dist/pgsluice-wal'].filter((path) => (files.get(path) & 0o111) === 0)
  if (plain.length > 0) throw new Error(`not executable in the tarball: ${plain.join(', ')}`)
  return { tarball: join(work, packed.filename), files: [...files.keys()] }
}

/** Both linters of packages. The package is ESM only: attw's profile leaves out what only CommonJS and old resolvers ask. */
function lint(tarball) {
  run(process.execPath, [join(root, 'node_modules/publint/src/cli.js'), 'run', '--strict', tarball])
  const attw = join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  // The schemas and package.json are data: they have no types to be wrong.
  run(process.execPath, [attw, tarball, '--profile', 'esm-only', '--entrypoints', '.', '--format', 'ascii'])
}

/** Installs the tarball with one npm and uses it. */
function tryWith(major, tarball, files) {
  const npm = npmOf(major)
  const project = join(work, `consumer-${major}`)
  const manifest = { name: 'consumer', private: true, type: 'module' }
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest))
  const install = [npm, 'install', '--no-audit', '--no-fund', '--loglevel=error', tarball]
  run(process.execPath, install, { cwd: project })

  if (Number(major) >= 12) {
    expectOutput(project, 'pgsluice', ['--version'], version)
    const allowed = { ...manifest, allowScripts: { 'zstd-napi': true } }
    writeFileSync(join(project, 'package.json'), JSON.stringify(allowed))
    rmSync(join(project, 'node_modules'), { recursive: true })
    run(process.execPath, install, { cwd: project })
    tryGlobally(install)
  }

  expectOutput(project, 'pgsluice', ['--version'], version)
  expectOutput(project, 'pgsluice', ['--help'], 'restore')
  expectFront(project)
  evaluate(project, ZSTD_WORKS)
  evaluate(project, `if (Object.keys(await import('${name}')).length === 0) throw new Error('nothing is exported')`)
  const schemas = files.filter((path) => path.startsWith('docs/schemas/'))
  if (schemas.length === 0) throw new Error('the exports name ./schemas/*, but docs/schemas/ is empty')
  for (const path of [...schemas.map((path) => path.replace(/^docs\//, '')), 'package.json']) {
    evaluate(project, `await import('${name}/${path}', { with: { type: 'json' } })`)
  }
  checkTypes(project)
  console.log(`check-package: npm ${major} done`)
}

/** As operators install it: there is no package.json that could allow the script, the command line does. */
function tryGlobally(install) {
  const prefix = join(work, 'global')
  run(process.execPath, [...install, '--global', '--prefix', prefix, '--allow-scripts=zstd-napi'], { cwd: work })
  const output = run(join(prefix, 'bin/pgsluice'), ['--version'], { cwd: work })
  if (!output.includes(version)) throw new Error(`the global "pgsluice --version" printed ${output}`)
  evaluate(join(prefix, 'lib/node_modules', name), ZSTD_WORKS)
  // npm 12 links no manual pages: README.md tells where this one is
  readFileSync(join(prefix, 'lib/node_modules', name, 'docs/pgsluice.1'))
}

/** The command file of the newest npm of a major. */
function npmOf(major) {
  const prefix = join(work, `npm-${major}`)
  mkdirSync(prefix)
  run('npm', ['install', '--prefix', prefix, '--no-audit', '--no-fund', '--loglevel=error', `npm@${major}`], {
    cwd: work,
  })
  return join(prefix, 'node_modules/npm/bin/npm-cli.js')
}

/** The front finds main.js through npm's link: a fetch without a repository is a failure that main.js explained. */
function expectFront(project) {
  const front = join(project, 'node_modules/.bin/pgsluice-wal')
  const fetch = ['fetch', '000000010000000000000001', 'RECOVERYXLOG', '--repository', 'nonsense']
  const { status, stderr } = spawnSync(front, fetch, { cwd: project, encoding: 'utf8' })
  if (status !== 200) throw new Error(`"pgsluice-wal fetch" ended with ${status} and not 200: ${stderr}`)
  if (/Cannot find|could not run/.test(stderr)) throw new Error(`pgsluice-wal did not find its program: ${stderr}`)
}

function expectOutput(project, program, args, expected) {
  const output = run(join(project, 'node_modules/.bin', program), args, { cwd: project })
  if (!output.includes(expected))
    throw new Error(`"${program} ${args.join(' ')}" did not print "${expected}": ${output}`)
}

function evaluate(project, code) {
  run(process.execPath, ['--input-type=module', '--eval', code], { cwd: project })
}

/** Type-checks a program of a consumer, our declarations included; only errors of those two count. */
function checkTypes(project) {
  writeFileSync(join(project, 'consumer.ts'), CONSUMER)
  const options = {
    ...{ module: 'nodenext', target: 'es2023', strict: true, exactOptionalPropertyTypes: true, noEmit: true },
    ...{ skipLibCheck: false, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
  }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['consumer.ts'] }))
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { stdout } = spawnSync(process.execPath, [tsc, '--pretty', 'false'], { cwd: project, encoding: 'utf8' })
  const errors = stdout
    .split('\n')
    .filter((line) => line.startsWith('consumer.ts') || line.includes(`modules/${name}/`))
  if (errors.length > 0) throw new Error(`a TypeScript program cannot use the package:\n${errors.join('\n')}`)
}

/** Runs a program to its success and returns what it printed; throws with all its output otherwise. */
function run(program, args, { cwd = root } = {}) {
  try {
    return execFileSync(program, args, { cwd, env: environment(), encoding: 'utf8', stdio: 'pipe' })
  } catch (error) {
    throw new Error(`"${[program, ...args].join(' ')}" failed: ${error.stdout ?? ''}${error.stderr ?? error.message}`)
  }
}

/** Our environment without what npm tells its scripts: a project would otherwise be configured as this one is. */
function environment() {
  const entries = Object.entries(process.env).filter(
    ([key]) => !/^npm_(config_local_prefix|lifecycle|package|command)/.test(key),
  )
  // A setting of node-gyp's that npm 12 no longer reads from npmrc: where the headers of Node.js are. Passed on as node-gyp
  // itself knows it.
  const nodedir = spawnSync('npm', ['config', 'get', 'nodedir'], { cwd: tmpdir(), encoding: 'utf8' }).stdout.trim()
  if (nodedir !== '' && nodedir !== 'undefined') entries.push(['npm_config_nodedir', nodedir])
  // zstd-napi is compiled once for each npm: by all cores
  entries.push(['JOBS', 'max'])
  return Object.fromEntries(entries)
}
