/**
 * The settings: their names, forms and defaults, for the command line, the environment, the configuration file and the
 * programming interface alike. One name everywhere: `--part-size`, `PGSLUICE_PART_SIZE`, `part-size:`.
 */
import * as v from 'valibot'
import { ToolError } from '../errors.js'
import { RETENTION_SETTINGS, retentionFrom, type RetentionSettings } from './retention-settings.js'
import {
  choice,
  duration,
  flag,
  rate,
  repository,
  size,
  text,
  url,
  wholeNumber,
  type JsonForm,
} from './setting-forms.js'

const MiB = 1024 * 1024

/** Every setting by its name. What has no default is undefined until something sets it. */
export const SETTINGS = {
  repository: {
    schema: repository(),
    placeholder: 'URL',
    help: 'where the repository is: s3://bucket/prefix or file:///path',
  },
  cluster: {
    schema: text('the name or alias of a cluster'),
    placeholder: 'NAME',
    help: 'which cluster of the repository, where neither the server nor PGDATA says',
  },
  endpoint: {
    schema: url(),
    placeholder: 'URL',
    help: 'S3 endpoint, where it is not AWS (default: AWS_ENDPOINT_URL_S3 and the profile)',
  },
  region: {
    schema: text('a region such as eu-central-1'),
    placeholder: 'REGION',
    help: 'S3 region (default: AWS_REGION and the profile)',
  },
  profile: {
    schema: text('the name of a profile'),
    placeholder: 'NAME',
    help: 'profile of the AWS configuration files',
  },
  'path-style': {
    schema: flag(),
    placeholder: 'BOOL',
    help: 'address the bucket in the path (default: true where the endpoint is not AWS)',
  },
  'request-timeout': {
    schema: duration('60s'),
    placeholder: 'TIME',
    help: 'longest wait for an answer, or for a connection that moves nothing (default: 60s)',
  },
  'max-attempts': { schema: wholeNumber(1, 100), placeholder: 'N', help: 'attempts of one request (default: 10)' },
  jobs: {
    schema: wholeNumber(1, 256),
    placeholder: 'N',
    help: 'worker threads (default: the cores, or what --memory allows)',
  },
  memory: {
    schema: size('96MiB', '1024GiB'),
    placeholder: 'SIZE',
    help: 'memory of the whole process (default: 256MiB)',
  },
  'max-rate': {
    schema: rate('64kB/s'),
    placeholder: 'RATE',
    help: 'most bytes a second read from the data directory, and moved to or from the repository (default: none)',
  },
  'compression-level': { schema: wholeNumber(1, 19), placeholder: 'N', help: 'zstd level (default: 1)' },
  checksum: {
    schema: choice(['CRC32C', 'SHA256']),
    placeholder: 'NAME',
    help: "checksum of each file in PostgreSQL's manifest (default: CRC32C)",
  },
  'archive-timeout': {
    schema: duration('10min'),
    placeholder: 'TIME',
    help: 'how long to wait for WAL to reach the archive (default: 10min; check: 1min)',
  },
  'push-ahead': {
    schema: wholeNumber(0, 1000),
    placeholder: 'N',
    help: 'files stored in the same run, besides the one asked for, as long as they are ready (default: 128)',
  },
  'fetch-ahead': {
    schema: wholeNumber(0, 1000),
    placeholder: 'N',
    help: 'segments kept ready on disk for a server in recovery (default: 8)',
  },
  'retry-time': {
    schema: duration('5min'),
    placeholder: 'TIME',
    help: 'how long to go on trying when the store fails (default: 5min; of a standby 4s, and PostgreSQL asks again)',
  },
  dbname: {
    schema: text('a database name or connection string'),
    placeholder: 'CONNINFO',
    help: "database to connect to: a name, a connection string or a URI (default: PGDATABASE and the rest of libpq's environment)",
  },
  pgdata: {
    schema: text('a directory'),
    placeholder: 'DIR',
    help: 'data directory of the server (default: what the server says; PGDATA)',
  },
  ...RETENTION_SETTINGS,
} as const

/** Name of a setting. */
export type SettingName = keyof typeof SETTINGS

/** Values as they came, by name. */
export type RawSettings = Partial<Record<SettingName, unknown>>

/** The effective settings. Sizes in bytes, durations in milliseconds. */
export interface Settings {
  readonly repository: string | undefined
  readonly cluster: string | undefined
  readonly endpoint: string | undefined
  readonly region: string | undefined
  readonly profile: string | undefined
  readonly pathStyle: boolean | undefined
  readonly requestTimeoutMs: number
  readonly maxAttempts: number
  readonly jobs: number | undefined
  readonly memoryBytes: number | undefined
  readonly maxBytesPerSecond: number | undefined
  readonly compressionLevel: number
  readonly checksum: 'CRC32C' | 'SHA256'
  readonly archiveTimeoutMs: number | undefined
  readonly pushAhead: number
  readonly fetchAhead: number
  readonly retryTimeMs: number
  readonly dbname: string | undefined
  readonly pgdata: string | undefined
  readonly retention: RetentionSettings
  readonly graceMs: number
}

/** Memory that the whole process may take where nothing is said. */
export const DEFAULT_MEMORY_BYTES = 256 * MiB

/** Names of all settings. */
export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[]

/** What the help of a setting says: its meaning, and what counts where nothing is said (empty where nothing does). */
export function describeSetting(name: SettingName): { meaning: string; byDefault: string } {
  const { help } = SETTINGS[name]
  const [, meaning = help, byDefault = ''] = /^(.*?)(?: \(default: (.*)\))?$/.exec(help) ?? []
  return { meaning, byDefault }
}

/** The form of a setting as a JSON schema, a little wider than {@link parseSetting}: numbers in quotes have no bounds. */
export function jsonForm(name: SettingName): JsonForm {
  const { json } = v.getMetadata(SETTINGS[name].schema)
  if (typeof json !== 'object' || json === null) throw new Error(`the setting "${name}" has no JSON form`)
  return json as JsonForm
}

/** Parses one value; returns the value, or what would be right (`expected a whole number from 1 to 256`). */
export function parseSetting(name: SettingName, value: unknown): { value: unknown } | { problem: string } {
  const result = v.safeParse(SETTINGS[name].schema, value)
  return result.success ? { value: result.output } : { problem: result.issues[0].message }
}

/** The effective settings from values that {@link parseSetting} has parsed. */
export function settingsFrom(parsed: RawSettings): Settings {
  return Object.freeze({
    repository: parsed['repository'] as string | undefined,
    cluster: parsed['cluster'] as string | undefined,
    endpoint: parsed['endpoint'] as string | undefined,
    region: parsed['region'] as string | undefined,
    profile: parsed['profile'] as string | undefined,
    pathStyle: parsed['path-style'] as boolean | undefined,
    requestTimeoutMs: (parsed['request-timeout'] as number | undefined) ?? 60_000,
    maxAttempts: (parsed['max-attempts'] as number | undefined) ?? 10,
    jobs: parsed['jobs'] as number | undefined,
    memoryBytes: parsed['memory'] as number | undefined,
    maxBytesPerSecond: (parsed['max-rate'] as number | undefined) || undefined,
    compressionLevel: (parsed['compression-level'] as number | undefined) ?? 1,
    checksum: (parsed['checksum'] as 'CRC32C' | 'SHA256' | undefined) ?? 'CRC32C',
    archiveTimeoutMs: parsed['archive-timeout'] as number | undefined,
    pushAhead: (parsed['push-ahead'] as number | undefined) ?? 128,
    fetchAhead: (parsed['fetch-ahead'] as number | undefined) ?? 8,
    retryTimeMs: (parsed['retry-time'] as number | undefined) ?? 300_000,
    dbname: parsed['dbname'] as string | undefined,
    pgdata: parsed['pgdata'] as string | undefined,
    retention: retentionFrom(parsed),
    graceMs: (parsed['grace'] as number | undefined) ?? 86_400_000,
  })
}

/** Values by the name of their setting, for programs: `{ repository: 's3://bucket/prefix', jobs: 4 }`. */
export type SettingValues = Partial<Record<SettingName, string | number | boolean>>

/** Settings for the programming interface. Throws ToolError `usage` for a value that is wrong. */
export function makeSettings(values: SettingValues): Settings {
  const parsed: RawSettings = {}
  for (const [name, value] of Object.entries(values)) {
    if (!Object.hasOwn(SETTINGS, name)) throw new ToolError('usage', `unknown setting "${name}"`)
    const result = parseSetting(name as SettingName, value)
    if ('problem' in result)
      throw new ToolError('usage', `wrong value ${JSON.stringify(value)} for "${name}": ${result.problem}`)
    parsed[name as SettingName] = result.value
  }
  return settingsFrom(parsed)
}
