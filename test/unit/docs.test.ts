/** The documentation against the program: what can be generated is up to date, and what is named exists. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, it } from 'node:test'
import { createProgram } from '#src/cli/program.js'
import { EXIT_BUG, EXIT_CODES, EXIT_FETCH_FAILED, EXIT_PAGE_ERRORS } from '#src/errors.js'
import { renderManual } from '../../scripts/docs/manual.js'
import { renderCommands, renderConfiguration, renderFileSchema } from '../../scripts/docs/render.js'
import { ROOT } from '../support/oracles.js'
import { runProgram } from '../support/server-user.js'

const read = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')
const STALE = 'run "npm run build && npm run build:test && node build/scripts/generate-docs.js"'

const PAGES = [
  'README.md',
  'CHANGELOG.md',
  'examples/README.md',
  ...readdirSync(path.join(ROOT, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'))

/** Sources of what verify, acknowledge, expire, gc, drop-cluster, pin, init, config and the textfile refuse. */
const OPERATORS = [
  ...['verify', 'acknowledge', 'expire', 'retire', 'drop-cluster', 'pin', 'init'].map((name) => `commands/${name}`),
  ...['cli/config', 'cli/textfile', 'cli/ask', 'config/config-file', 'repository/retired'],
]

describe('the documentation', () => {
  it('has the help of every command as it is', async () => {
    assert.equal(read('docs/commands.md'), await renderCommands(), STALE)
  })

  it('has every setting as it is', async () => {
    const text = read('docs/configuration.md')
    assert.equal(text, await renderConfiguration(text), STALE)
  })

  it('has the schema of the configuration file as it is', async () => {
    assert.equal(read('docs/schemas/pgsluice-yaml.schema.json'), await renderFileSchema(), STALE)
  })

  it('has the manual page as it is', () => {
    assert.equal(read('docs/pgsluice.1'), renderManual(read('README.md')), STALE)
  })

  it('has a manual page that mandoc finds nothing wrong with', async (t) => {
    const lint = runProgram('mandoc', ['-T', 'lint', '-W', 'warning', path.join(ROOT, 'docs/pgsluice.1')])
    const found = await lint.catch(() => undefined)
    if (found === undefined) {
      if (process.env['PGSLUICE_REQUIRE_ORACLES'] === '1') throw new Error('mandoc is not installed')
      t.skip('mandoc is not installed')
      return
    }
    // a date would be wrong the day after
    const complaints = found.stdout.split('\n').filter((line) => line !== '' && !line.includes('missing date'))
    assert.deepEqual(complaints, [], found.stderr)
  })

  it('tells every exit code in README.md', () => {
    const rows = new Set([...read('README.md').matchAll(/^\| (\d+)/gm)].map(([, code]) => Number(code)))
    const codes = [...Object.values(EXIT_CODES).map(({ exit }) => exit), EXIT_PAGE_ERRORS, EXIT_BUG, EXIT_FETCH_FAILED]
    for (const code of [0, ...codes]) assert.ok(rows.has(code), `exit code ${code} is not in README.md`)
  })

  it('tells in troubleshooting.md only messages that the program has', () => {
    const source = sourceText()
    const messages = [...read('docs/troubleshooting.md').matchAll(/\*\*`([^`]+)`\*\*/g)].map(([, text]) => text ?? '')
    assert.ok(messages.length > 20)
    // Names are left out as `…`; what stands between them must be somewhere in the source, or come from PostgreSQL.
    const invented = messages
      .filter((message) => !message.startsWith('permission denied for function'))
      .filter((message) => message.split(/[…"]/).some((piece) => !source.includes(piece.trim())))
    assert.deepEqual(invented, [])
  })

  it('tells in troubleshooting.md what to do about every refusal of the commands for operators', () => {
    const entries = new Set([...read('docs/troubleshooting.md').matchAll(/`([^`]+)`/g)].map(([, text]) => text))
    const missing = OPERATORS.flatMap((file) => messagesOf(read(`src/${file}.ts`)))
      .map((message) => message.replace(/"?\$\{(?:[^{}]|\{[^}]*\})*\}"?/g, '…'))
      .filter((message) => ![...entries].some((entry) => fits(message, entry ?? '')))
    assert.deepEqual(missing, [])
  })

  it('has policies in security.md that can be pasted, and lets only the host of retention delete', () => {
    const blocks = [...read('docs/security.md').matchAll(/```json\n(.*?)```/gs)].map(([, block = '']) => block)
    const policies = blocks.map((block) => JSON.parse(block) as Policy)
    assert.equal(policies.length, 3)
    const mayDelete = policies.map(({ Version, Statement }) => {
      assert.equal(Version, '2012-10-17')
      for (const { Effect, Resource } of Statement) {
        assert.equal(Effect, 'Allow')
        assert.match(Resource, /^arn:aws:s3:::backups(\/main\/\*)?$/)
      }
      return Statement.flatMap(({ Action }) => Action).some((action) => /Delete|\*/.test(action))
    })
    assert.deepEqual(mayDelete, [false, true, false])
  })

  for (const page of PAGES) {
    it(`links to files that exist: ${page}`, () => {
      const links = [...read(page).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, target]) => target ?? '')
      const broken = links
        .filter((target) => !/^[a-z]+:/.test(target))
        .filter((target) => !existsSync(path.join(ROOT, path.dirname(page), target)))
      assert.deepEqual(broken, [])
    })

    it(`shows commands that exist, with options that they have: ${page}`, () => {
      assert.deepEqual(unknownUsages(read(page)), [])
    })
  }
})

interface Policy {
  Version: string
  Statement: { Effect: string; Action: string | string[]; Resource: string }[]
}

/** The messages of the errors that a source makes, as they stand there. */
function messagesOf(source: string): string[] {
  return [...source.matchAll(/new ToolError\(\s*(?:'[\w-]+'|code),\s*([`'])((?:(?!\1).)*)\1/gs)].map(
    ([, , text]) => text ?? '',
  )
}

/** Whether an entry is of a message: what stands between its `…` is in it, in that order, from its first word on. */
function fits(message: string, entry: string): boolean {
  const pieces = entry.split('…').map((piece) => piece.trim())
  if (pieces.every((piece) => piece.length < 4)) return false
  let at = 0
  for (const [index, piece] of pieces.entries()) {
    const found = message.indexOf(piece, at)
    if (found < 0 || (index === 0 && found > 0)) return false
    at = found + piece.length
  }
  return true
}

function sourceText(): string {
  const directory = path.join(ROOT, 'src')
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') || file.endsWith('pgsluice-wal'))
    .map((file) => readFileSync(path.join(directory, file), 'utf8'))
    .join('\n')
}

/** Lines that begin with `pgsluice` in blocks of code, whose command or options the program does not know. */
function unknownUsages(text: string): string[] {
  const blocks = [...text.matchAll(/```(?:sh|console)\n(.*?)```/gs)].map(([, block]) => block ?? '')
  const lines = blocks.flatMap((block) => block.replaceAll('\\\n', ' ').split('\n')).map((line) => line.trim())
  return lines.filter((line) => {
    const words = line.replace(/^(?:\$ )?(?:sudo -u \S+ )?/, '').split(/\s+/)
    if (words[0] !== 'pgsluice') return false
    let command = createProgram('0')
    let next = words.slice(1)
    for (;;) {
      const child = command.commands.find((candidate) => candidate.name() === next[0])
      if (child === undefined) break
      command = child
      next = next.slice(1)
    }
    if (command.name() === 'pgsluice' && next.some((word) => !word.startsWith('-'))) return true
    const known = new Set(['--help', ...command.options.map(({ long }) => long)])
    return next.some((word) => word.startsWith('--') && !known.has(word.replace(/=.*/, '')))
  })
}
