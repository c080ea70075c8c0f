/**
 * Connection strings as libpq reads them: `host=… dbname=…`, `postgresql://…`, or a plain database name.
 *
 * `pg` reads URIs only, and those in its own way; users have strings that work with psql, so ours must mean the same.
 * An unknown keyword is an error, as in libpq: a misspelt `sslmod=verify-full` must not connect without it.
 */
import { ToolError } from '../../errors.js'

/** The keywords we understand; names are libpq's. */
const KEYWORDS = [
  'host',
  'hostaddr',
  'port',
  'user',
  'dbname',
  'password',
  'passfile',
  'service',
  'connect_timeout',
  'options',
  'application_name',
  'fallback_application_name',
  'client_encoding',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'sslpassword',
  'sslnegotiation',
  'channel_binding',
  'gssencmode',
  'target_session_attrs',
  'keepalives',
  'keepalives_idle',
  'keepalives_interval',
  'keepalives_count',
  'tcp_user_timeout',
] as const

/** A keyword of a connection string. */
export type Keyword = (typeof KEYWORDS)[number]
/** Values by keyword; an absent one is decided further down the chain. */
export type Conninfo = Partial<Record<Keyword, string>>

/** Reads a connection string, URI or database name. Errors never show the string, which may hold a password. */
export function parseConninfo(text: string): Conninfo {
  if (/^postgres(ql)?:\/\//.test(text)) return parseUri(text)
  if (text.includes('=')) return parseKeywords(text)
  return text === '' ? {} : { dbname: text }
}

/** Turns a keyword into one of ours, or fails; `source` says where it was found. */
export function checkKeyword(name: string, source: string): Keyword {
  const keyword = KEYWORDS.find((known) => known === name)
  if (keyword !== undefined) return keyword
  throw new ToolError('configuration', `unknown keyword "${name}" in ${source}`)
}

/** As conninfo_parse() in fe-connect.c: single quotes around a value, a backslash before a quote or a backslash. */
function parseKeywords(text: string): Conninfo {
  const result: Conninfo = {}
  const pattern = /\s*([^\s=]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*|)(?=\s|$)/gsy
  while (text.slice(pattern.lastIndex).trim() !== '') {
    const match = pattern.exec(text)
    if (match === null)
      throw new ToolError('configuration', 'invalid connection string: expected "keyword=value" pairs')
    const value = match[2] ?? ''
    const bare = value.startsWith("'") ? value.slice(1, -1) : value
    result[checkKeyword(match[1] ?? '', 'the connection string')] = bare.replace(/\\(.)/gs, '$1')
  }
  return result
}

/** As conninfo_uri_parse(): the host may be absent, in brackets, or a percent-encoded socket directory. */
function parseUri(text: string): Conninfo {
  const match = /^postgres(?:ql)?:\/\/(?:([^/?#@]*)@)?(\[[^\]]*\]|[^/?:,]*)(?::(\d*))?(?:\/([^?]*))?(?:\?(.*))?$/s.exec(
    text,
  )
  if (match === null) {
    throw new ToolError('configuration', 'invalid connection URI', {
      hint: 'It looks like postgresql://user@host:port/database?keyword=value, with special characters percent-encoded; one host only.',
    })
  }
  const [, login = '', host = '', port = '', dbname = '', query = ''] = match
  const result: Conninfo = {}
  const [user = '', ...password] = login.split(':')
  const set = (keyword: Keyword, value: string): void => {
    if (value !== '') result[keyword] = decode(value)
  }
  set('user', user)
  set('password', password.join(':'))
  set('host', host.startsWith('[') ? host.slice(1, -1) : host)
  set('port', port)
  set('dbname', dbname)
  for (const pair of query.split('&').filter((part) => part !== '')) {
    const [name = '', ...value] = pair.split('=')
    // libpq takes JDBC's spelling, too.
    if (decode(name) === 'ssl' && value.join('=') === 'true') result.sslmode = 'require'
    else set(checkKeyword(decode(name), 'the connection URI'), value.join('='))
  }
  return result
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (error) {
    throw new ToolError('configuration', 'invalid percent-encoding in the connection URI', { cause: error })
  }
}
