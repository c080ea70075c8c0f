/**
 * Brings the sources of the settings together: defaults < configuration file < environment < flags. Every wrong value is
 * named with its source. The only place that reads our own part of the environment.
 */
import { existsSync, readFileSync } from 'node:fs'
import type { FileSetting } from '../config/config-file.js'
import { DEFAULT_FILES } from '../config/default-files.js'
import { explainValues, explainVariables, type GivenValue } from '../config/explain.js'
import type { ExplainedSetting, ShownVariable } from '../config/explain.js'
import { SettingsConflict } from '../config/resources.js'
import { hideSecrets } from '../config/secrets.js'
import {
  parseSetting,
  SETTING_NAMES,
  settingsFrom,
  type RawSettings,
  type SettingName,
  type Settings,
} from '../config/settings.js'
import { unknownVariables, variableOf } from '../config/variables.js'
import { reasonOf, ToolError } from '../errors.js'
import type { Report } from '../report.js'

/** Flags by the name of their setting, and `config`. */
export type Flags = Partial<Record<SettingName | 'config', string>>

/** The effective settings, and how they came about. */
export interface LoadedSettings {
  settings: Settings
  /** All that was given, from the lowest source to the highest: the last of a name counts. */
  given: GivenValue[]
  /** The file that was read. */
  file: string | undefined
  /** Default files that are there and were not read, since another one was. */
  unreadFiles: string[]
}

/**
 * Loads them. Throws ToolError `usage` or `configuration` with one line a mistake would need. An unknown variable is such
 * a mistake; with `warn` it is only told, since it must stop neither archiving nor recovery.
 */
export async function loadSettings(flags: Flags, warn?: Report): Promise<LoadedSettings> {
  refuseUnknownVariables(warn)
  const there = DEFAULT_FILES.filter((path) => existsSync(path))
  const file = flags.config ?? (variable('PGSLUICE_CONFIG') || there[0])
  const given: GivenValue[] = []
  if (file !== undefined) given.push(...(await readConfigFile(file)).map((one) => ({ ...one, kind: 'file' as const })))
  const variables = [['pgdata', 'PGDATA'] as const, ...SETTING_NAMES.map((name) => [name, variableOf(name)] as const)]
  for (const [name, source] of variables) {
    const value = variable(source)
    if (value !== undefined) given.push({ name, value, kind: 'environment', source })
  }
  for (const name of SETTING_NAMES) {
    const value = flags[name]
    if (value !== undefined) given.push({ name, value, kind: 'flag', source: `--${name}` })
  }
  const parsed: RawSettings = {}
  for (const one of given) parsed[one.name] = parseGiven(one)
  return { settings: settingsFrom(parsed), given, file, unreadFiles: there.filter((path) => path !== file) }
}

/** An error about settings that contradict each other, with where each came from; any other as it is. */
export function withSources(error: unknown, given: readonly GivenValue[]): unknown {
  if (!(error instanceof SettingsConflict)) return error
  const sources = error.names.flatMap((name) => {
    const source = given.findLast((one) => one.name === name)?.source
    return source === undefined ? [] : [`${name}: ${source}`]
  })
  if (sources.length === 0) return error
  return new ToolError(error.code, `${error.message} (${sources.join(', ')})`, { cause: error, hint: error.hint })
}

/** What `config` tells. */
export interface ExplainedConfiguration {
  /** The file that was read; null where none was. */
  file: string | null
  unreadFiles: string[]
  settings: ExplainedSetting[]
  /** What libpq and the AWS SDK read of the environment. */
  environment: ShownVariable[]
}

/** The effective settings with their sources, without secrets. Throws as {@link loadSettings} does. */
export async function explainSettings(flags: Flags): Promise<ExplainedConfiguration> {
  const { given, file = null, unreadFiles } = await loadSettings(flags)
  return { file, unreadFiles, settings: explainValues(given), environment: explainVariables(process.env) }
}

/** The value of a variable; an empty one counts as not set. */
function variable(name: string): string | undefined {
  const value = process.env[name]
  return value === '' ? undefined : value
}

/**
 * One line in which the shell front has put all that decides which repository is meant; undefined where no server called
 * it. It is noted beside what was done ahead, and never read.
 */
export function frontPlace(): string | undefined {
  return variable('PGSLUICE_FRONT')
}

function parseGiven({ name, value, kind, source }: GivenValue): unknown {
  const result = parseSetting(name, value)
  if (!('problem' in result)) return result.value
  const shown = value === undefined ? 'no single value' : hideSecrets(JSON.stringify(value))
  const code = kind === 'flag' ? 'usage' : 'configuration'
  throw new ToolError(code, `wrong value ${shown} for "${name}" (${source}): ${result.problem}`)
}

function refuseUnknownVariables(warn: Report | undefined): void {
  for (const { name, nearest } of unknownVariables(Object.keys(process.env))) {
    const message = `unknown environment variable "${name}"`
    const hint = nearest ? `Did you mean ${nearest}?` : 'Unset it; docs/configuration.md tells the variables there are.'
    if (!warn) throw new ToolError('configuration', message, { hint })
    warn({ type: 'warning', message, hint })
  }
}

async function readConfigFile(path: string): Promise<FileSetting[]> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ToolError('configuration', `could not read the configuration file "${path}": ${reasonOf(cause)}`, {
      cause,
    })
  }
  // the YAML parser takes a third of the start of a WAL command: only who has a file pays for it
  const { parseConfigFile } = await import('../config/config-file.js')
  return parseConfigFile(text, path)
}
