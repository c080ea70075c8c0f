/** Options that commands share, and the ends of their help. */
import { InvalidArgumentError, Option, type Command } from 'commander'
import { SETTINGS, type SettingName } from '../config/settings.js'
import { EXIT_CODES, EXIT_FETCH_FAILED, EXIT_PAGE_ERRORS, ToolError } from '../errors.js'

/** What every command needs to reach the repository. */
export const REPOSITORY_SETTINGS: readonly SettingName[] = [
  'repository',
  'endpoint',
  'region',
  'profile',
  'path-style',
  'request-timeout',
  'max-attempts',
]

/** Adds the flags of those settings. */
export function addSettingFlags(command: Command, names: readonly SettingName[]): Command {
  for (const name of names) {
    const { placeholder, help } = SETTINGS[name]
    command.addOption(new Option(`--${name} <${placeholder}>`, help).argParser(onlyOnce))
  }
  return command
}

/** Adds the flags of those settings, and --config. */
export function addSettings(command: Command, names: readonly SettingName[]): Command {
  return addSettingFlags(command, names).addOption(
    new Option('--config <FILE>', 'configuration file (default: ./pgsluice.yaml, /etc/pgsluice/pgsluice.yaml)'),
  )
}

/** A command line that contradicts itself is refused: neither value is known to be the one that was meant. */
export function onlyOnce(value: string, before: string | undefined): string {
  if (before !== undefined && before !== value) throw new InvalidArgumentError('It is given twice, with two values.')
  return value
}

/** Flags come camel-cased from commander; settings go by their own names. */
export function settingFlags(options: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(options)
      .filter(([, value]) => typeof value === 'string')
      .map(([key, value]) => [key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), value as string]),
  )
}

/** Refuses the empty text that an unset variable of a shell script leaves. */
export function nonEmpty(value: string): string {
  if (value === '') throw new InvalidArgumentError('It is empty.')
  return value
}

/** Parses `OLD=NEW`, in which a backslash before `=` keeps it, and any other is part of the path (as pg_basebackup does). */
export function parseTablespaceMapping(text: string): [string, string] {
  const match = /^((?:[^=\\]|\\=|\\(?!=))+)=((?:[^=\\]|\\=|\\(?!=))+)$/.exec(text)
  const [, from, to] = match ?? []
  if (from === undefined || to === undefined) {
    throw new ToolError('usage', `wrong value "${text}" for --tablespace-mapping: expected OLD=NEW`)
  }
  const plain = (path: string): string => path.replaceAll('\\=', '=')
  if (!from.startsWith('/') || !to.startsWith('/')) {
    throw new ToolError('usage', `wrong value "${text}" for --tablespace-mapping: both directories must be absolute`)
  }
  return [plain(from), plain(to)]
}

/** Examples and exit codes, as every help ends. */
export function helpEnd(examples: readonly string[], exits: readonly (readonly [number, string])[]): string {
  const lines = ['', 'Examples:', ...examples.map((example) => `  ${example}`), '', 'Exit codes:']
  const sorted = [...exits].sort(([a], [b]) => a - b)
  return [...lines, ...sorted.map(([code, meaning]) => `  ${String(code).padStart(3)}  ${meaning}`)].join('\n')
}

/** Exit codes that most commands have. */
export const COMMON_EXITS: readonly (readonly [number, string])[] = [
  [0, 'done'],
  [EXIT_CODES.usage.exit, 'wrong usage or configuration'],
  [EXIT_CODES.storage.exit, 'could not: storage, database or file system failed, or data is damaged'],
  [EXIT_CODES.refused.exit, 'refused, to protect data'],
  [EXIT_CODES.interrupted.exit, 'interrupted (143: by SIGTERM), after clean-up'],
]
export const ANSWER_NO: readonly [number, string] = [EXIT_CODES['answer-no'].exit, 'the answer is no']
export const PAGE_ERRORS: readonly [number, string] = [EXIT_PAGE_ERRORS, 'done, but the source has corrupt pages']
export const FETCH_EXITS: readonly (readonly [number, string])[] = [
  [0, 'the file is in place, verified'],
  [EXIT_CODES['not-in-archive'].exit, 'definitely not in the archive (pgsluice-wal says 1 to PostgreSQL)'],
  [143, 'ended by SIGTERM, as at an orderly shutdown'],
  [EXIT_FETCH_FAILED, 'anything else: PostgreSQL stops rather than take an outage for the end of WAL'],
]
