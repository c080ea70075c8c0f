/** docs/pgsluice.1: the manual page, from the program, its settings and the table of exit codes in README.md. */
import type { Command, Option } from 'commander'
import { createProgram } from '#src/cli/program.js'
import { DEFAULT_FILES } from '#src/config/default-files.js'
import { describeSetting, SETTING_NAMES, SETTINGS } from '#src/config/settings.js'
import { variableOf } from '#src/config/variables.js'
import { commandsBelow, helpOf } from './help.js'

/** The page in the man macros. `readme` is the text of README.md. */
export function renderManual(readme: string): string {
  const program = createProgram('VERSION')
  const commands = commandsBelow(program, []).filter(({ command }) => command.parent && command.name() !== 'help')
  const leaves = commands.filter(({ command }) => command.commands.length === 0)
  return [
    '.\\" Written by scripts/generate-docs.ts from the help of the program.',
    '.TH PGSLUICE 1 "" pgsluice "User Commands"',
    '.SH NAME',
    `pgsluice \\- ${text(lowerFirst(program.description().replace(/\.$/, '')))}`,
    '.SH SYNOPSIS',
    ...leaves.flatMap(({ command, words }, index) => [
      ...(index === 0 ? [] : ['.br']),
      `.B ${text(words.join(' '))}`,
      text(command.usage()),
    ]),
    '.SH DESCRIPTION',
    text(
      'Takes base backups of a running PostgreSQL server, archives its WAL, restores to any instant that the archive holds,',
    ),
    text('and proves that it can. Results go to standard output, everything else to standard error.'),
    '.SH COMMANDS',
    ...leaves.flatMap(commandSection),
    '.SH SETTINGS',
    text(
      'A setting comes from a flag, a variable of the environment, or the configuration file under the same name without its dashes,',
    ),
    text('in this order.'),
    ...tagged('--config', 'FILE'),
    'the configuration file; see FILES',
    ...SETTING_NAMES.flatMap((name) => {
      const { meaning, byDefault } = describeSetting(name)
      const rest = byDefault === '' ? '' : ` (default: ${byDefault})`
      return [...tagged(`--${name}`, SETTINGS[name].placeholder), text(`${meaning}${rest}`)]
    }),
    '.SH EXIT STATUS',
    ...exitRows(readme).flatMap(([code, meaning]) => ['.TP', `.B ${code}`, text(meaning)]),
    '.SH ENVIRONMENT',
    ...SETTING_NAMES.flatMap((name) => ['.TP', `.B ${variableOf(name)}`, `the setting ${text(`--${name}`)}`]),
    ...['.TP', '.B PGSLUICE_CONFIG', 'the configuration file'],
    ...['.TP', '.B PGSLUICE_NODE', text('the Node.js that pgsluice-wal runs')],
    '.PP',
    text(
      "Credentials, region and endpoint of the store come from the AWS SDK's own chain (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3 and others),",
    ),
    text("the server from libpq's own (PGHOST, PGSERVICE, PGPASSFILE and others)."),
    text('Any other variable whose name begins with PGSLUICE_ is refused.'),
    '.SH FILES',
    ...DEFAULT_FILES.flatMap((file) => [
      '.TP',
      `.I ${text(file)}`,
      'the configuration file; only the first that is there is read',
    ]),
    ...['.TP', `.I ${text('~/.aws/config')}, ${text('~/.aws/credentials')}`, 'profiles of the AWS SDK'],
    ...['.TP', `.I ${text('~/.pgpass')}`, 'passwords of servers'],
    '.SH PGSLUICE\\-WAL',
    text(
      'pgsluice-wal push and pgsluice-wal fetch are the shell front of pgsluice wal push and pgsluice wal fetch, for archive_command and',
    ),
    text('restore_command: the same words, with the exit codes that PostgreSQL needs.'),
    text('pgsluice-wal --node PATH names the Node.js to use.'),
    '.SH SEE ALSO',
    '.BR pg_verifybackup (1),',
    '.BR psql (1),',
    '.BR postgres (1),',
    '.BR zstd (1)',
    '.PP',
    text(
      'The directory docs of the package: commands.md, configuration.md, recovery.md, retention.md, monitoring.md, troubleshooting.md.',
    ),
    '',
  ].join('\n')
}

/** Its own options; the settings are told once for all. */
function commandSection({ command, words }: { command: Command; words: string[] }): string[] {
  const visible = command.createHelp().visibleOptions(command)
  const isSetting = ({ long }: Option): boolean =>
    long === '--config' || SETTING_NAMES.some((name) => long === `--${name}`)
  const settings = visible.filter(isSetting).map(({ long }) => long ?? '')
  const own = visible.filter((option) => !isSetting(option) && option.long !== '--help')
  const help = helpOf(command)
  return [
    `.SS ${text(words.join(' '))} ${text(command.usage().replace(/ ?\[options\] ?/, ''))}`.trimEnd(),
    text(`${upperFirst(command.description())}.`),
    ...command.registeredArguments.flatMap((argument) =>
      argument.description === '' ? [] : ['.TP', `.I ${text(argument.name())}`, text(argument.description)],
    ),
    ...own.flatMap((option) => {
      const [, names = option.flags, placeholder = ''] = /^(.*?)(?: <(.*)>)?$/.exec(option.flags) ?? []
      return [...tagged(names, placeholder), text(describeOption(option))]
    }),
    ...(settings.length === 0 ? [] : ['.PP', text(`Settings: ${settings.join(', ')}.`)]),
    '.PP',
    '.EX',
    ...help
      .slice(help.indexOf('\nExamples:') + 1)
      .split('\n')
      .map(text),
    '.EE',
  ]
}

function describeOption({ description, argChoices, defaultValue }: Option): string {
  const choices = argChoices
    ? ` (${argChoices.join(', ')}${defaultValue === undefined ? '' : `; default: ${String(defaultValue)}`})`
    : ''
  return `${description}${choices}`
}

function tagged(names: string, placeholder: string): string[] {
  return ['.TP', placeholder === '' ? `.B ${text(names)}` : `.BI "${text(names)} " ${text(placeholder)}`]
}

/** The rows of the table of exit codes. */
function exitRows(readme: string): (readonly [string, string])[] {
  const rows = [...readme.matchAll(/^\| (\d+) +\| (.*?) *\|$/gm)].map(
    ([, code = '', meaning = '']) => [code, meaning.replaceAll('`', '')] as const,
  )
  if (rows.length === 0) throw new Error('README.md has no table of exit codes')
  return rows
}

/** A line of text that nothing of is taken for a request, and whose ASCII stays ASCII when it is copied. */
function text(line: string): string {
  const special: Record<string, string> = {
    '\\': '\\e',
    '-': '\\-',
    "'": '\\(aq',
    '"': '\\(dq',
    '`': '\\(ga',
    '^': '\\(ha',
    '~': '\\(ti',
  }
  return line
    .replace(/[\\\-'"`^~]/g, (one) => special[one] ?? one)
    .replace(/^\./, '\\&.')
    .replace(/[^\x20-\x7e]/gu, (one) => `\\[u${(one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`)
}

function lowerFirst(words: string): string {
  return words.charAt(0).toLowerCase() + words.slice(1)
}

function upperFirst(words: string): string {
  return words.charAt(0).toUpperCase() + words.slice(1)
}
