/**
 * Where the server is and how to get in, decided as libpq does: the connection string first, then the service file, then
 * PG* in the environment, then defaults.
 *
 * This is the one file beside cli/ and config/ that reads the environment: a tool that ignored PGHOST, PGSERVICE or
 * PGPASSWORD would connect elsewhere than psql does in the same shell. Passwords are never part of a message.
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir, userInfo } from 'node:os'
import path from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../../errors.js'
import { checkKeyword, parseConninfo, type Conninfo, type Keyword } from './conninfo.js'

/** Everything that decides a connection. */
export interface ServerAddress {
  /** A host name, an address, or the directory of a Unix socket. */
  host: string
  port: number
  user: string
  database: string
  /** Undefined: the password file is asked when the server asks. */
  password: string | undefined
  passfile: string
  /** Zero: no limit. */
  connectTimeoutMs: number
  /** Command-line options for the backend (PGOPTIONS). */
  options: string
  sslmode: SslMode
  sslrootcert: string | undefined
  sslcert: string | undefined
  sslkey: string | undefined
  sslpassword: string | undefined
}

/** How much a connection over TCP insists on TLS. */
export type SslMode = (typeof SSL_MODES)[number]
const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const

/** The environment variable of each keyword (libpq's PQconninfoOptions). */
const VARIABLES: Readonly<Partial<Record<Keyword, string>>> = {
  host: 'PGHOST',
  hostaddr: 'PGHOSTADDR',
  port: 'PGPORT',
  user: 'PGUSER',
  dbname: 'PGDATABASE',
  password: 'PGPASSWORD',
  passfile: 'PGPASSFILE',
  service: 'PGSERVICE',
  connect_timeout: 'PGCONNECT_TIMEOUT',
  options: 'PGOPTIONS',
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
}

/** The default socket directories of Debian's and of PostgreSQL's own builds. */
export const SOCKET_DIRECTORIES: readonly string[] = ['/var/run/postgresql', '/tmp']
/** libpq would wait for ever; a backup that starts from cron must not. */
const DEFAULT_CONNECT_TIMEOUT_MS = 30_000

/** Decides the address from a connection string (or database name, or nothing) and the environment. */
export function resolveAddress(
  dbname: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
  readService: typeof serviceSettings = serviceSettings,
): ServerAddress {
  const given = parseConninfo(dbname ?? '')
  const variable = (keyword: Keyword): string | undefined => {
    const name = VARIABLES[keyword]
    const value = name === undefined ? undefined : environment[name]
    return value === '' ? undefined : value
  }
  const serviceName = given.service ?? variable('service')
  const service = serviceName === undefined ? {} : readService(serviceName, environment)
  const setting = (keyword: Keyword): string | undefined =>
    [given[keyword], service[keyword], variable(keyword)].find((value) => value !== undefined && value !== '')

  const port = numberOf('port', setting('port') ?? '5432', 1, 65_535)
  const host = setting('hostaddr') ?? setting('host') ?? defaultHost(port)
  if (host.includes(',')) throw new ToolError('configuration', `several hosts ("${host}") are not supported`)
  const user = setting('user') ?? userInfo().username
  const timeout = setting('connect_timeout')
  return {
    host,
    port,
    user,
    database: setting('dbname') ?? user,
    password: setting('password'),
    passfile: setting('passfile') ?? path.join(homedir(), '.pgpass'),
    connectTimeoutMs:
      timeout === undefined ? DEFAULT_CONNECT_TIMEOUT_MS : numberOf('connect_timeout', timeout, 0, 86_400) * 1000,
    options: setting('options') ?? '',
    sslmode: sslModeOf(setting('sslmode') ?? 'prefer'),
    sslrootcert: setting('sslrootcert'),
    sslcert: setting('sslcert'),
    sslkey: setting('sslkey'),
    sslpassword: setting('sslpassword'),
  }
}

/** Host, port, user and database in words, for messages. */
export function describeAddress(address: ServerAddress): string {
  const where = isSocket(address)
    ? `socket "${address.host}/.s.PGSQL.${address.port}"`
    : `host "${address.host}", port ${address.port}`
  return `${where}, user "${address.user}", database "${address.database}"`
}

/** Whether the address is that of a Unix socket. */
export function isSocket(address: ServerAddress): boolean {
  return address.host.startsWith('/')
}

function defaultHost(port: number): string {
  const directory = SOCKET_DIRECTORIES.find((candidate) => existsSync(path.join(candidate, `.s.PGSQL.${port}`)))
  return (
    directory ?? SOCKET_DIRECTORIES.find((candidate) => candidate !== '/tmp' && existsSync(candidate)) ?? 'localhost'
  )
}

function numberOf(keyword: Keyword, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\s*\d+\s*$/.test(text) && value >= least && value <= most) return value
  throw new ToolError('configuration', `invalid ${keyword} "${text}" for the connection`)
}

function sslModeOf(text: string): SslMode {
  const mode = SSL_MODES.find((known) => known === text)
  if (mode !== undefined) return mode
  throw new ToolError('configuration', `invalid sslmode "${text}"`, { hint: `It is one of ${SSL_MODES.join(', ')}.` })
}

/** Reads one service from PGSERVICEFILE (or ~/.pg_service.conf) and then PGSYSCONFDIR/pg_service.conf, as libpq does. */
export function serviceSettings(service: string, environment: NodeJS.ProcessEnv): Conninfo {
  const files = [environment['PGSERVICEFILE'] ?? path.join(homedir(), '.pg_service.conf')]
  const system = environment['PGSYSCONFDIR']
  if (system !== undefined) files.push(path.join(system, 'pg_service.conf'))
  for (const file of files) {
    const settings = parseServiceFile(readOptional(file), service, file)
    if (settings !== undefined) return settings
  }
  throw new ToolError(
    'configuration',
    `there is no service "${service}" in ${files.map((file) => `"${file}"`).join(', ')}`,
  )
}

/** The settings of one `[service]`, or undefined when the file does not have it. */
export function parseServiceFile(text: string, service: string, file: string): Conninfo | undefined {
  let settings: Conninfo | undefined
  let inside = false
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '' || line.startsWith('#')) continue
    const section = /^\[(.*)\]$/.exec(line)
    if (section !== null) {
      // The first section of that name counts, as in libpq.
      if (inside) break
      inside = section[1] === service
      if (inside) settings = {}
    } else if (inside && settings !== undefined) {
      const [name = '', ...value] = line.split('=')
      const keyword = checkKeyword(name.trim(), `service "${service}" of "${file}"`)
      if (keyword === 'service')
        throw new ToolError('configuration', `service "${service}" of "${file}" names a service`)
      settings[keyword] ??= value.join('=').trim()
    }
  }
  return settings
}

function readOptional(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return ''
    throw new ToolError('configuration', `could not read service file "${file}": ${reasonOf(error)}`, { cause: error })
  }
}
