/**
 * Builds dist/ from src/: the JavaScript and its types, the libraries that are bundled, the WebAssembly page checksum kernel,
 * the shell front.
 *
 * Plain JavaScript, because `npm ci` runs it as `prepare` before anything is compiled. Outputs are replaced one by one
 * and never removed wholesale: a program or test that is running from dist/ goes on. What is removed is only what has no
 * source any more, since a compiled file that lost its source would still be found by imports and be packed.
 */
import { spawnSync } from 'node:child_process'
import { chmod, copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const kernel = 'src/postgres/page-checksum-kernel.ts'
const wasm = 'dist/postgres/page-checksum.wasm'

process.chdir(root)
if (!existsSync('node_modules/typescript')) {
  if (process.env.npm_lifecycle_event === 'prepare') {
    // `npm ci --omit=dev` of a clone: nothing to build with, and nothing that asked for a build.
    console.error('build: the development dependencies are not installed; dist/ is left as it is')
    process.exit(0)
  }
  console.error('build: the development dependencies are not installed; run "npm ci"')
  process.exit(1)
}

await removeOrphans()
await compileKernel()
await copyExecutable('src/cli/pgsluice-wal', 'dist/pgsluice-wal')
run('node_modules/typescript/bin/tsc', '--project', 'tsconfig.json')
await (await import('./bundle-libraries.mjs')).bundleLibraries()
await chmod('dist/main.js', 0o755)

/** Removes compiled files whose source is gone. */
async function removeOrphans() {
  if (!existsSync('dist')) return
  for (const entry of await readdir('dist', { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    // parentPath is new in Node 20.12; `path` was its name before and is gone from Node 24.
    const path = join(entry.parentPath ?? entry.path, entry.name)
    const match = /^dist\/(?!storage\/sdk\/)(.+?)(\.d\.ts|\.js)(\.map)?$/.exec(path)
    if (match !== null && !existsSync(`src/${match[1]}.ts`)) await rm(path, { force: true })
  }
}

/** Compiles the kernel; the import of its memory lets JavaScript choose the memory that buffers and pages share. */
async function compileKernel() {
  const temporary = `${wasm}.${process.pid}`
  await mkdir(dirname(wasm), { recursive: true })
  const options = ['-O3', '--enable', 'simd', '--importMemory', '--runtime', 'stub', '--noAssert']
  run('node_modules/assemblyscript/bin/asc.js', kernel, ...options, '-o', temporary)
  // A reader sees the old kernel or the new one, never half of one.
  await rename(temporary, wasm)
}

/** Copies a program in one step, executable by everybody. */
async function copyExecutable(from, to) {
  const temporary = `${to}.${process.pid}`
  await copyFile(from, temporary)
  await chmod(temporary, 0o755)
  await rename(temporary, to)
}

/** Runs one of the tools with the Node.js that runs this script; its failure is ours. */
function run(tool, ...args) {
  const { status, error } = spawnSync(process.execPath, [tool, ...args], { stdio: 'inherit' })
  if (error !== undefined) throw error
  if (status !== 0) process.exit(status ?? 1)
}
