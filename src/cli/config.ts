/**
 * Brings the sources of the settings together: defaults < configuration file < environment < flags. Every wrong value is
 * named with its source. The only place that reads our own part of the environment.
 */
import { existsSync, readFileSync } from 'node:fs'
import type { FileSetting } from '../config/config-file.js'
import {
  parseSetting,
  SETTINGS,
  settingsFrom,
  type RawSettings,
  type SettingName,
  type Settings,
} from '../config/settings.js'
import { reasonOf, ToolError } from '../errors.js'

const DEFAULT_FILES = ['pgsluice.yaml', '/etc/pgsluice/pgsluice.yaml']

/** Flags by the name of their setting, and `config`. */
export type Flags = Partial<Record<SettingName | 'config', string>>

/** The effective settings. Throws ToolError `usage` or `configuration` with one line a mistake would need. */
export async function loadSettings(flags: Flags): Promise<Settings> {
  const parsed: RawSettings = {}
  const take = (name: SettingName, value: unknown, source: string, code: 'usage' | 'configuration'): void => {
    const result = parseSetting(name, value)
    if ('problem' in result) {
      throw new ToolError(code, `wrong value ${JSON.stringify(value)} for "${name}" (${source}): ${result.problem}`)
    }
    parsed[name] = result.value
  }
  const names = Object.keys(SETTINGS) as SettingName[]
  const file = flags.config ?? process.env['PGSLUICE_CONFIG'] ?? DEFAULT_FILES.find((path) => existsSync(path))
  if (file !== undefined) {
    for (const { name, value, source } of await readConfigFile(file)) take(name, value, source, 'configuration')
  }
  if (process.env['PGDATA']) take('pgdata', process.env['PGDATA'], 'PGDATA', 'configuration')
  for (const name of names) {
    const variable = `PGSLUICE_${name.replaceAll('-', '_').toUpperCase()}`
    const value = process.env[variable]
    if (value !== undefined && value !== '') take(name, value, variable, 'configuration')
  }
  for (const name of names) {
    const value = flags[name]
    if (value !== undefined) take(name, value, `--${name}`, 'usage')
  }
  return settingsFrom(parsed)
}

/**
 * One line in which the shell front has put all that decides which repository is meant; undefined where no server called
 * it. It is noted beside what was done ahead, and never read.
 */
export function frontPlace(): string | undefined {
  const place = process.env['PGSLUICE_FRONT']
  return place === '' ? undefined : place
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
