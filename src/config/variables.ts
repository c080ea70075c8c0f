/** Our part of the environment: the variable of each setting, and those that are neither a setting nor anything else of ours. */
import { nearestName } from './nearest.js'
import { SETTING_NAMES, type SettingName } from './settings.js'

const PREFIX = 'PGSLUICE_'

/** Variables that are no settings: the configuration file, the Node.js of the shell front, and what the front tells us. */
const OTHERS = ['PGSLUICE_CONFIG', 'PGSLUICE_NODE', 'PGSLUICE_FRONT']

/**
 * What Kubernetes and Docker links set in every container beside a service that is called pgsluice or pgsluice-…
 * (`PGSLUICE_SERVICE_HOST`, `PGSLUICE_PORT_8080_TCP_ADDR`): nobody has misspelt those.
 */
const OF_SERVICES = /^PGSLUICE_([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)$/

/** `PGSLUICE_PATH_STYLE` of `path-style`. */
export function variableOf(name: SettingName): string {
  return `${PREFIX}${name.replaceAll('-', '_').toUpperCase()}`
}

/** A variable that looks like ours and is not. */
export interface UnknownVariable {
  name: string
  /** The nearest that is ours. */
  nearest?: string | undefined
}

/** The unknown ones among the names of all variables, in order. */
export function unknownVariables(names: readonly string[]): UnknownVariable[] {
  const known = [...SETTING_NAMES.map(variableOf), ...OTHERS]
  return names
    .filter((name) => name.startsWith(PREFIX) && !known.includes(name) && !OF_SERVICES.test(name))
    .sort()
    .map((name) => ({ name, nearest: nearestName(name.slice(PREFIX.length).toUpperCase(), known.map(withoutPrefix)) }))
    .map(({ name, nearest }) => ({ name, nearest: nearest && `${PREFIX}${nearest}` }))
}

function withoutPrefix(name: string): string {
  return name.slice(PREFIX.length)
}
