/** The parts of docs/ that the program itself can tell: its commands, and its settings. */
import { format } from 'prettier'
import { createProgram } from '#src/cli/program.js'
import { describeSetting, jsonForm, parseSetting, SETTING_NAMES } from '#src/config/settings.js'
import { variableOf } from '#src/config/variables.js'
import { commandsBelow, helpOf } from './help.js'

const STYLE = { parser: 'markdown', semi: false, singleQuote: true, printWidth: 120, trailingComma: 'all' } as const
const TABLE = { begin: '<!-- settings: begin -->', end: '<!-- settings: end -->' } as const

/** docs/commands.md: the help of every command. */
export async function renderCommands(): Promise<string> {
  const sections = commandsBelow(createProgram('VERSION'), [])
    .filter(({ command }) => command.name() !== 'help')
    .map(({ command, words }) => `## ${words.join(' ')}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\``)
  const head = `# Commands

Written by \`scripts/generate-docs.ts\` from the help of the program: what \`--help\` says of each command. What the settings
mean, and the other places they may come from, is in [configuration.md](configuration.md). Results go to stdout,
everything else to stderr.

\`pgsluice-wal push\` and \`pgsluice-wal fetch\` are the shell front of \`pgsluice wal push\` and \`pgsluice wal fetch\`: the
same words, with the exit codes that PostgreSQL needs. \`pgsluice-wal --node PATH …\` names the Node.js to use (or
\`PGSLUICE_NODE\`; default: the first \`node\` on PATH).`
  return format([head, ...sections].join('\n\n'), STYLE)
}

/** docs/configuration.md with its table of settings made anew. Throws where the place of the table is not marked. */
export async function renderConfiguration(current: string): Promise<string> {
  const begin = current.indexOf(TABLE.begin)
  const end = current.indexOf(TABLE.end)
  if (begin < 0 || end < begin) throw new Error(`docs/configuration.md must hold ${TABLE.begin} and ${TABLE.end}`)
  const text = `${current.slice(0, begin)}${TABLE.begin}\n\n${settingsTable()}\n\n${current.slice(end)}`
  return format(text, STYLE)
}

/** docs/schemas/pgsluice-yaml.schema.json: the configuration file, for editors. */
export async function renderFileSchema(): Promise<string> {
  const properties = SETTING_NAMES.map((name) => {
    const { meaning, byDefault } = describeSetting(name)
    const description = `${meaning}${byDefault === '' ? '' : ` (default: ${byDefault})`}`
    return [name, { description, ...jsonForm(name) }] as const
  })
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:pgsluice:schema:pgsluice-yaml',
    title: 'pgsluice.yaml',
    description: 'The configuration file of pgsluice. Written by scripts/generate-docs.ts from the settings.',
    type: ['object', 'null'],
    properties: Object.fromEntries(properties),
    additionalProperties: false,
  }
  return format(JSON.stringify(schema), { ...STYLE, parser: 'json' })
}

function settingsTable(): string {
  const rows = SETTING_NAMES.map((name) => {
    const { meaning, byDefault } = describeSetting(name)
    // No setting is a list: what is wrong with one says what would be right.
    const refusal = parseSetting(name, [])
    const form = 'problem' in refusal ? refusal.problem.replace(/^expected /, '') : ''
    return `| \`--${name}\` | \`${variableOf(name)}\` | \`${name}:\` | ${meaning} | ${form} | ${byDefault} |`
  })
  const head = '| flag | environment | file | what it says | form | default |\n|---|---|---|---|---|---|'
  return [head, ...rows].join('\n')
}
