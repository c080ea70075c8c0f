/** The effective settings as they may be shown: each with its source, what it hides, and no secret. */
import { hideSecrets } from './secrets.js'
import { describeSetting, SETTING_NAMES, type SettingName } from './settings.js'

/** A value that a source gave, as it was written. */
export interface GivenValue {
  name: SettingName
  value: unknown
  kind: 'file' | 'environment' | 'flag'
  /** `pgsluice.yaml:3`, `PGSLUICE_JOBS`, `--jobs` */
  source: string
}

/** A value as it may be shown. */
interface ShownValue {
  value: string
  kind: GivenValue['kind']
  source: string
}

/** One setting. */
export interface ExplainedSetting {
  name: SettingName
  /** What counts; null where nothing was given and nothing counts by itself. */
  value: string | null
  kind: GivenValue['kind'] | 'default'
  /** Missing for a default. */
  source?: string
  /** Given by lower sources, and without effect; the nearest first. */
  overridden: ShownValue[]
}

/** Every setting, in the order of the documentation. `given` goes from the lowest source to the highest. */
export function explainValues(given: readonly GivenValue[]): ExplainedSetting[] {
  return SETTING_NAMES.map((name) => {
    const values = given.filter((one) => one.name === name).reverse()
    const [first, ...overridden] = values.map(({ value, kind, source }) => ({ value: shown(value), kind, source }))
    if (first) return { name, ...first, overridden }
    const { byDefault } = describeSetting(name)
    return { name, value: byDefault === '' ? null : byDefault, kind: 'default', overridden: [] }
  })
}

/** A variable that libpq or the AWS SDK reads. */
export interface ShownVariable {
  name: string
  /** `***` for what is not known to be harmless. */
  value: string
}

/** What others than we read, and may be shown. All other variables of theirs are named, and their values hidden. */
const HARMLESS = [
  ...['PGHOST', 'PGHOSTADDR', 'PGPORT', 'PGDATABASE', 'PGUSER', 'PGSERVICE', 'PGSERVICEFILE', 'PGPASSFILE'],
  ...['PGSYSCONFDIR', 'PGSSLMODE', 'PGSSLROOTCERT', 'PGSSLCERT', 'PGSSLKEY', 'PGCONNECT_TIMEOUT', 'PGAPPNAME'],
  ...['AWS_PROFILE', 'AWS_DEFAULT_PROFILE', 'AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_ENDPOINT_URL'],
  ...['AWS_ENDPOINT_URL_S3', 'AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_ROLE_ARN'],
  ...['AWS_WEB_IDENTITY_TOKEN_FILE', 'AWS_EC2_METADATA_DISABLED', 'NODE_EXTRA_CA_CERTS'],
]

/** The variables of libpq and the AWS SDK that are set. */
export function explainVariables(environment: Readonly<Record<string, string | undefined>>): ShownVariable[] {
  const isTheirs = /^(PG(?!DATA$|SLUICE_)[A-Z]+(_TIMEOUT)?|AWS_[A-Z0-9_]+|NODE_EXTRA_CA_CERTS)$/
  return Object.entries(environment)
    .filter(([name, value]) => isTheirs.test(name) && value !== undefined && value !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value = '']) => ({ name, value: HARMLESS.includes(name) ? hideSecrets(value) : '***' }))
}

function shown(value: unknown): string {
  return hideSecrets(typeof value === 'string' ? value : JSON.stringify(value))
}
