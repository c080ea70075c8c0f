/**
 * The layers of the source, as data: who may import whom, and what only one place may do. It parses src/, so a
 * rule is broken by writing the line, not by reaching it.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** What each folder (or file directly in src/) may import of src/, besides itself: folders end with a slash. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  'errors.ts': [],
  'report.ts': [],
  'main.ts': ['errors.ts', 'report.ts', 'cli/'],
  'api.ts': ['errors.ts', 'report.ts', 'commands/', 'config/'],
  // The textfile is the command line's own output, and no command's.
  'cli/': ['errors.ts', 'report.ts', 'commands/', 'config/', 'postgres/lsn.ts', 'streams/write-file-durably.ts'],
  // The form of a repository's URL is the storage's to say, and a setting's to refuse.
  'config/': ['errors.ts', 'report.ts', 'storage/storage-url.ts'],
  'commands/': [
    ...['errors.ts', 'report.ts', 'config/', 'workers/', 'archive/', 'repository/', 'postgres/', 'postgres/session/'],
    ...['storage/storage.ts', 'storage/storage-options.ts', 'storage/open-storage.ts', 'storage/inspect.ts'],
    ...['storage/stale-uploads.ts', 'storage/store-clock.ts', 'storage/store-facts.ts', 'storage/measure.ts'],
    ...['streams/write-file-durably.ts', 'streams/rate-limit.ts'],
  ],
  'workers/': [
    ...['errors.ts', 'report.ts', 'archive/', 'storage/open-storage.ts', 'storage/storage-options.ts'],
    // The pool aborts the upload of a thread that it had to end.
    ...['storage/storage.ts', 'storage/stale-uploads.ts', 'streams/rate-limit.ts'],
  ],
  'archive/': [
    ...['errors.ts', 'report.ts', 'postgres/', 'storage/storage.ts', 'storage/storage-options.ts', 'streams/'],
    ...['storage/has-content.ts', 'repository/layout.ts'],
  ],
  'repository/': [
    ...['errors.ts', 'report.ts', 'postgres/', 'storage/storage.ts', 'storage/storage-options.ts', 'streams/'],
    'storage/has-content.ts',
  ],
  'postgres/session/': ['errors.ts', 'report.ts', 'postgres/'],
  'postgres/': ['errors.ts', 'report.ts'],
  'storage/': [
    ...['errors.ts', 'report.ts', 'streams/settle.ts', 'streams/write-file-durably.ts', 'streams/rate-limit.ts'],
  ],
  'streams/': ['errors.ts', 'report.ts'],
}

/** Where each package, and each module of Node.js that is not for everybody, may be imported. */
const ONLY_IN: Record<string, RegExp> = {
  commander: /^cli\//,
  'cli-table3': /^cli\//,
  picocolors: /^cli\/colors\.ts$/,
  valibot: /^config\//,
  yaml: /^config\//,
  pg: /^postgres\/session\//,
  // Values come through s3-sdk.ts, which the build bundles; types from the package.
  '@aws-sdk/client-s3': /^storage\/s3-[^/]+\.ts$/,
  '@aws-sdk/lib-storage': /^storage\/s3-sdk-upload\.ts$/,
  '@node-rs/crc32': /^(postgres\/checksum|storage\/s3-access)\.ts$/,
  'tar-stream': /^streams\//,
  'zstd-napi': /^streams\//,
  'node:worker_threads': /^workers\//,
  // They would go around the rules about process.env, process.exit and console below.
  'node:process': /^$/,
  'node:console': /^$/,
}

/** Expressions that only some files may write, as their text begins. */
const EXPRESSIONS: readonly { starts: string; only: RegExp; why: string }[] = [
  { starts: 'process.env', only: /^(cli\/config|postgres\/session\/.*)\.ts$/, why: 'settings come from src/config' },
  { starts: 'process.exit', only: /^(cli\/exit|main)\.ts$/, why: 'an exit elsewhere skips the clean-up' },
  { starts: 'console', only: /^cli\//, why: 'output goes through report()' },
]

const MAX_CODE_LINES = 250
/** Files that may be longer, with the reason. */
const LONGER: Record<string, string> = {}

const src = fileURLToPath(new URL('../../../src', import.meta.url))
/** What the tests need to know of each file. The kernel is AssemblyScript and imports nothing. */
const files = new Map(
  readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((file) => /(?<!\.d)\.ts$/.test(file) && file !== 'postgres/page-checksum-kernel.ts')
    .map((file) => [file, look(file, readFileSync(join(src, file), 'utf8'))]),
)

interface Look {
  /** Imported statically, dynamically or as a type only: paths below src/ and names of packages. */
  imports: readonly string[]
  /** The text of each `a.b` in the code. */
  accesses: readonly string[]
  /** Lines with more than comments and blanks. */
  codeLines: number
}

function look(file: string, text: string): Look {
  const lines = new Set<number>()
  const accesses: string[] = []
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAccessExpression(node)) accesses.push(node.getText(source))
    const children = node.getChildren(source).filter((child) => child.kind !== ts.SyntaxKind.JSDoc)
    for (const child of children) visit(child)
    if (children.length > 0 || node.getWidth(source) === 0) return
    const last = source.getLineAndCharacterOfPosition(node.getEnd()).line
    for (let line = source.getLineAndCharacterOfPosition(node.getStart(source)).line; line <= last; line++)
      lines.add(line)
  }
  visit(source)
  const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName: name }) => {
    if (name.startsWith('.')) return join(dirname(file), name).replace(/\.js$/, '.ts')
    return name.startsWith('node:') ? name : name.split('/', name.startsWith('@') ? 2 : 1).join('/')
  })
  return { imports, accesses, codeLines: lines.size }
}

const isOurs = (name: string): boolean => name.endsWith('.ts')
const folderOf = (file: string): string => (file.includes('/') ? `${dirname(file)}/` : file)

test('every folder imports only what its row of the table allows', () => {
  const broken = [...files.keys()].flatMap((file) => {
    const folder = folderOf(file)
    const allowed = MAY_IMPORT[folder]
    if (allowed === undefined) return [`${file}: its folder is not in the table`]
    return files
      .get(file)!
      .imports.filter(
        (name) => isOurs(name) && ![folder, ...allowed].some((row) => row === name || row === folderOf(name)),
      )
      .map((name) => `${file} imports ${name}`)
  })
  assert.deepEqual(broken, [])
})

test('every import of ours names a file that exists', () => {
  const broken = [...files.keys()].flatMap((file) =>
    files
      .get(file)!
      .imports.filter((name) => isOurs(name) && !files.has(name))
      .map((name) => `${file} imports ${name}`),
  )
  assert.deepEqual(broken, [])
})

test('each package is imported in its one place, and none that is not in the table', () => {
  const broken = [...files.keys()].flatMap((file) =>
    files
      .get(file)!
      .imports.filter((name) => !isOurs(name) && !(ONLY_IN[name]?.test(file) ?? name.startsWith('node:')))
      .map((name) => `${file} imports ${name}`),
  )
  assert.deepEqual(broken, [])
})

test('no file imports itself by way of others', () => {
  const finished = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (finished.has(file) || path.includes(file)) return
    for (const name of files.get(file)?.imports.filter(isOurs) ?? []) visit(name, [...path, file])
    finished.add(file)
  }
  for (const file of files.keys()) visit(file, [])
  assert.deepEqual(cycles, [])
})

for (const { starts, only, why } of EXPRESSIONS) {
  test(`${starts} is written only where it belongs: ${why}`, () => {
    const broken = [...files].filter(
      ([file, { accesses }]) =>
        !only.test(file) && accesses.some((text) => text === starts || text.startsWith(`${starts}.`)),
    )
    assert.deepEqual(
      broken.map(([file]) => file),
      [],
    )
  })
}

test(`no file has more than ${MAX_CODE_LINES} lines of code`, () => {
  const long = [...files].filter(([file, { codeLines }]) => codeLines > MAX_CODE_LINES && LONGER[file] === undefined)
  assert.deepEqual(
    long.map(([file, { codeLines }]) => `${file}: ${codeLines}`),
    [],
  )
})
