/** The parts of docs/ that the program itself can tell: its commands, and its settings. */
import type { Command } from 'commander'
import { format } from 'prettier'
import { createProgram } from '#src/cli/program.js'
import { parseSetting, SETTINGS, type SettingName } from '#src/config/settings.js'

const WIDTH = 100
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

function commandsBelow(command: Command, above: readonly string[]): { command: Command; words: string[] }[] {
  const words = [...above, command.name()]
  return [
    { command, words },
    ...command
      .createHelp()
      .visibleCommands(command)
      .flatMap((child) => commandsBelow(child, words)),
  ]
}

/** With what the commands add at the end, which helpInformation() leaves out. */
function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: (piece) => {
      text += piece
    },
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  })
  command.outputHelp()
  return text.trim()
}

function settingsTable(): string {
  const names = Object.keys(SETTINGS) as SettingName[]
  const rows = names.map((name) => {
    const { help } = SETTINGS[name]
    const [, meaning = help, byDefault = ''] = /^(.*?)(?: \(default: (.*)\))?$/.exec(help) ?? []
    // No setting is a list: what is wrong with one says what would be right.
    const refusal = parseSetting(name, [])
    const form = 'problem' in refusal ? refusal.problem.replace(/^expected /, '') : ''
    const variable = `PGSLUICE_${name.replaceAll('-', '_').toUpperCase()}`
    return `| \`--${name}\` | \`${variable}\` | \`${name}:\` | ${meaning} | ${form} | ${byDefault} |`
  })
  const head = '| flag | environment | file | what it says | form | default |\n|---|---|---|---|---|---|'
  return [head, ...rows].join('\n')
}
