/**
 * The settings: their names, forms and defaults, for the command line, the environment, the configuration file and the
 * programming interface alike. One name everywhere: `--part-size`, `PGSLUICE_PART_SIZE`, `part-size:`.
 */
import * as v from 'valibot'
import { ToolError } from '../errors.js'
import { parseDuration, parseRate, parseSize } from './quantities.js'

const MiB = 1024 * 1024

type Schema<T> = v.GenericSchema<unknown, T>

function text(what: string): Schema<string> {
  return v.pipe(v.string(`expected ${what}`), v.minLength(1, `expected ${what}`))
}

function url(): Schema<string> {
  const message = 'expected an http:// or https:// URL'
  return v.pipe(v.string(message), v.url(message), v.regex(/^https?:/, message))
}

function choice<const T extends readonly string[]>(options: T): Schema<T[number]> {
  return v.picklist(options, `expected ${options.join(' or ')}`)
}

/** A flag and the environment bring text, the configuration file a boolean. */
function flag(): Schema<boolean> {
  const message = 'expected true or false'
  const words = v.pipe(
    v.picklist(['true', 'false'], message),
    v.transform((word) => word === 'true'),
  )
  return v.union([v.boolean(), words], message)
}

function number(parse: (text: string) => number, isRight: (value: number) => boolean, message: string): Schema<number> {
  const fromText = v.pipe(v.string(), v.transform(parse))
  return v.pipe(v.union([v.number(), fromText], message), v.check(isRight, message))
}

function wholeNumber(from: number, to: number): Schema<number> {
  const parse = (digits: string): number => (/^\d+$/.test(digits) ? Number(digits) : NaN)
  const isRight = (value: number): boolean => Number.isInteger(value) && value >= from && value <= to
  return number(parse, isRight, `expected a whole number from ${from} to ${to}`)
}

function size(from: string, to: string): Schema<number> {
  const least = parseSize(from) ?? 0
  const most = parseSize(to) ?? 0
  const isRight = (value: number): boolean => value >= least && value <= most
  return number((words) => parseSize(words) ?? NaN, isRight, `expected a size from ${from} to ${to}, such as 128MiB`)
}

/** Bytes a second; 0 for `none`, which takes back what a source below it says. */
function rate(from: string): Schema<number> {
  const least = parseRate(from) ?? 0
  const isRight = (value: number): boolean => value === 0 || (value >= least && value < Number.MAX_SAFE_INTEGER)
  const parse = (words: string): number => {
    if (words === 'none') return 0
    const bytes = parseRate(words)
    return bytes === undefined || bytes === 0 ? NaN : bytes
  }
  const message = `expected a rate of at least ${from}, such as 50MB/s or 100MiB/s, or none`
  return v.pipe(v.string(message), v.transform(parse), v.check(isRight, message))
}

/** Always with its unit: a bare number would be seconds to one and milliseconds to another. */
function duration(example: string): Schema<number> {
  const message = `expected a duration such as ${example}`
  return v.pipe(
    v.string(message),
    v.transform((words) => parseDuration(words) ?? NaN),
    v.check((value) => value > 0, message),
  )
}

/** Every setting by its name. What has no default is undefined until something sets it. */
export const SETTINGS = {
  repository: {
    schema: text('s3://bucket/prefix or file:///path'),
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
    help: 'files stored in the same run, besides the one asked for, as long as they are ready (default: 64)',
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
}

/** Memory that the whole process may take where nothing is said. */
export const DEFAULT_MEMORY_BYTES = 256 * MiB

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
    pushAhead: (parsed['push-ahead'] as number | undefined) ?? 64,
    fetchAhead: (parsed['fetch-ahead'] as number | undefined) ?? 8,
    retryTimeMs: (parsed['retry-time'] as number | undefined) ?? 300_000,
    dbname: parsed['dbname'] as string | undefined,
    pgdata: parsed['pgdata'] as string | undefined,
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
