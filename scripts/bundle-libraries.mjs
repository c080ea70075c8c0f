/**
 * Bundles what pgsluice uses of the AWS SDK and of yaml: compiled modules of ours that name just that are replaced by the
 * same files with the libraries in them. Loading the packages whole takes several times the time and memory, and PostgreSQL
 * starts us once a WAL segment; each worker thread loads the SDK, too.
 *
 * Credential providers stay chunks of their own, loaded when they are needed (dist/storage/sdk/). The licences of all that
 * was bundled are in dist/LICENSES.txt.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'

const SDK = ['dist/storage/s3-sdk.js', 'dist/storage/s3-sdk-upload.js']
const CHUNKS = 'dist/storage/sdk'
const YAML = ['dist/config/yaml-library.js']

/** Replaces the modules one by one, each in one step: a program that is running from dist/ goes on. */
export async function bundleLibraries() {
  const sdk = await bundle(SDK, { outdir: 'dist/storage', chunkNames: 'sdk/[name]-[hash]', splitting: true })
  const yaml = await bundle(YAML, { outdir: 'dist/config' })
  const outputs = [...sdk.outputFiles, ...yaml.outputFiles]
  await mkdir(CHUNKS, { recursive: true })
  // chunks first: an entry must never name one that is not there
  for (const { path, contents } of outputs.sort((a, b) => Number(isChunk(b.path)) - Number(isChunk(a.path)))) {
    await replace(path, contents)
    if (!isChunk(path)) await rm(`${path}.map`, { force: true })
  }
  await replace(
    'dist/LICENSES.txt',
    licenses([...Object.keys(sdk.metafile.inputs), ...Object.keys(yaml.metafile.inputs)]),
  )
  const kept = new Set(outputs.map(({ path }) => path.slice(path.lastIndexOf('/') + 1)))
  for (const name of await readdir(CHUNKS)) if (!kept.has(name)) await rm(join(CHUNKS, name))
}

function bundle(entryPoints, options) {
  return build({
    entryPoints,
    bundle: true,
    format: 'esm',
    platform: 'node',
    // their modules can be shaken, what they compile for require cannot
    mainFields: ['module', 'main'],
    target: 'node20.19',
    // identifiers stay, for stacks that can be read
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    // some of the packages are CommonJS and call require
    banner: { js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);" },
    logLevel: 'warning',
    metafile: true,
    write: false,
    ...options,
  })
}

function isChunk(path) {
  return path.includes('/storage/sdk/')
}

async function replace(path, contents) {
  const temporary = `${path}.${process.pid}`
  await writeFile(temporary, contents)
  await rename(temporary, path)
}

/** Name, version and licence text of each package that files of the bundle came from. */
function licenses(inputs) {
  const folders = new Set(inputs.map((input) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0]))
  folders.delete(undefined)
  const texts = new Map()
  for (const folder of [...folders].sort()) {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
    const text = file === undefined ? `${license}, without a text of its own` : readFileSync(join(folder, file), 'utf8')
    texts.set(text, [...(texts.get(text) ?? []), `${name} ${version} (${license})`])
  }
  return [...texts]
    .map(([text, packages]) => `${packages.join('\n')}\n\n${text.trim()}\n`)
    .join(`\n${'-'.repeat(78)}\n\n`)
}
