/**
 * What restored configuration files say of places: settings and includes that lead elsewhere, by file and line, and the
 * options with which a server on the restored directory heeds none of them. The files stay as they are: a copy that was
 * edited on the way is no backup of them.
 */
import { existsSync, realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  includedFiles,
  includedPath,
  isInclude,
  MAX_DEPTH,
  parseAccessIncludes,
  parseConfiguration,
  type ConfigurationFiles,
  type ConfigurationLine,
} from '../postgres/configuration-file.js'
import { quoteWord } from '../postgres/recovery-settings.js'
import type { ConfigurationSetting } from '../repository/objects-index.js'
import type { CommandContext } from './context.js'
import { HOST_FILES } from './configuration-files.js'
import type { ConfigurationPlan, PlannedConfigurationFile } from './restore-configuration.js'

/** Files without which a server does not start, where they are set. */
const KEY_FILES = ['ssl_cert_file', 'ssl_key_file', 'ssl_ca_file', 'ssl_crl_file', 'ssl_dh_params_file']

interface PlacedLine extends ConfigurationLine {
  file: string
}

/** The files as they will lie: those of the plan from memory, all others from this host. */
export function plannedFiles({ files }: ConfigurationPlan): ConfigurationFiles {
  return {
    read: (path) => {
      const planned = files.find(({ place }) => place === path)
      return planned ? Promise.resolve(planned.bytes.toString('latin1')) : HOST_FILES.read(path)
    },
    list: async (path) => {
      const planned = files.flatMap(({ place }) => (place.startsWith(`${path}/`) ? [place.slice(path.length + 1)] : []))
      return [...planned.filter((name) => !name.includes('/')), ...(await HOST_FILES.list(path))]
    },
  }
}

/** The main file where it lay outside the data directory. */
export function mainFile({ files }: ConfigurationPlan): PlannedConfigurationFile | undefined {
  return files.find(({ setting }) => setting === 'config_file')
}

/** See the head of this file. Returns the command that starts the server, and adds to the plan what is to be made besides. */
export async function settlePlaces(
  plan: ConfigurationPlan,
  dataDirectory: string,
  { report }: CommandContext,
): Promise<string> {
  const warn = (message: string, hint?: string): void => {
    report({ type: 'warning', message, ...(hint !== undefined && { hint }) })
  }
  const unplaced = plan.files.filter(({ path }) => path === undefined)
  if (unplaced.length > 0)
    warn(
      `the backup does not say where its configuration files lay: they are side by side in "${plan.directory}"`,
      'Move those that another one includes to where it looks for them.',
    )
  const settings = new Map<string, PlacedLine>()
  const main = mainFile(plan)
  if (main) for (const line of await follow(plan, main, false, warn)) settings.set(line.name, line)
  for (const file of plan.files)
    if (file.setting === 'hba_file' || file.setting === 'ident_file') await follow(plan, file, true, warn)

  const options = main ? [`config_file=${main.place}`] : []
  const data = settings.get('data_directory')
  if (data && !isSame(data.value, dataDirectory)) {
    options.push(`data_directory=${dataDirectory}`)
    warn(
      `${at(data)}: data_directory is "${data.value}", and not "${dataDirectory}", which was restored`,
      'A server that is started without the option data_directory below uses that other one. Change the line before anything starts it.',
    )
  }
  for (const name of ['hba_file', 'ident_file'] as const) {
    const line = settings.get(name)
    const place = placeOf(plan, name)
    if (place !== undefined && !(line && isSame(line.value, place))) options.push(`${name}=${place}`)
    if (line && place !== undefined && !isSame(line.value, place))
      warn(`${at(line)}: ${name} is "${line.value}", and not the restored "${place}"`)
    else if (line && place === undefined && !existsSync(line.value))
      warn(`${at(line)}: ${name} is "${line.value}", which is not on this host`)
  }
  for (const name of KEY_FILES) {
    const line = settings.get(name)
    if (line?.value.startsWith('/') === true && settings.get('ssl')?.value !== 'off' && !existsSync(line.value))
      warn(
        `${at(line)}: ${name} is "${line.value}", which is not on this host and in no backup`,
        'Put it there, or change the line: a server with "ssl = on" does not start without.',
      )
  }
  const shown = options.map((option) => `-c ${quoteWord(option)}`).join(' ')
  return `pg_ctl -D ${quoteWord(dataDirectory)}${shown === '' ? '' : ` -o ${quoteWord(shown)}`} start`
}

/** The assignments of a file and of what it includes, in their order; says where an include leads elsewhere or nowhere. */
async function follow(
  plan: ConfigurationPlan,
  file: PlannedConfigurationFile,
  access: boolean,
  warn: (message: string, hint?: string) => void,
  depth = 0,
): Promise<PlacedLine[]> {
  const found: PlacedLine[] = []
  const text = file.bytes.toString('latin1')
  for (const line of access ? parseAccessIncludes(text) : parseConfiguration(text)) {
    const placed = { ...line, file: file.place }
    if (!access && !isInclude(line)) found.push(placed)
    else if (depth < MAX_DEPTH) {
      checkInclude(plan, placed, warn)
      for (const path of await includedFiles(file.place, line, plannedFiles(plan))) {
        const next = plan.files.find(({ place }) => place === path)
        if (next) found.push(...(await follow(plan, next, access, warn, depth + 1)))
      }
    }
  }
  return found
}

function checkInclude(plan: ConfigurationPlan, line: PlacedLine, warn: (message: string) => void): void {
  const path = includedPath(line.file, line.value)
  const inside = path.startsWith(`${plan.directory}/`)
  const source = plan.files.find(({ place }) => place === line.file)?.path
  // what it named on its own host; files that were restored have another place now
  const named = source === undefined ? path : includedPath(source, line.value)
  const copies = plan.files.filter((each) => each.path === named || each.path?.startsWith(`${named}/`) === true)
  const [copy] = copies
  const isHere = plan.files.some(({ place }) => place === path || place.startsWith(`${path}/`))
  if (copy && !isHere) warn(`${at(line)}: ${line.name} "${line.value}" does not lead to its copy "${copy.place}"`)
  else if (line.name === 'include_dir' && inside && !isHere && !plan.emptyDirectories.includes(path))
    plan.emptyDirectories.push(path)
  else if (line.name !== 'include_if_exists' && !isHere && (inside || !existsSync(path)))
    warn(`${at(line)}: ${line.name} "${line.value}" is not on this host, and not in the backup`)
}

function placeOf({ files }: ConfigurationPlan, name: ConfigurationSetting): string | undefined {
  return files.find(({ setting }) => setting === name)?.place
}

function at({ file, line }: PlacedLine): string {
  return `"${file}", line ${line}`
}

/** A path that is relative is so to where the server is started, and leads nowhere that is known. */
function isSame(value: string, place: string): boolean {
  if (!value.startsWith('/')) return false
  return resolve(value) === place || real(value) === real(place)
}

function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return resolve(path)
  }
}
