/** Errors of the database as one clear line with the place and, for the common causes, what to do about it. */
import { DatabaseError } from 'pg'
import { reasonOf, systemErrorCode, ToolError } from '../../errors.js'
import { describeAddress, isSocket, type ServerAddress } from './server-address.js'

/** The SQLSTATE of whatever the server refused, or undefined when the error did not come from the server. */
export function sqlStateOf(error: unknown): string | undefined {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof DatabaseError) return at.code
  return undefined
}

/** Why no connection came about. Never contains a password. */
export function connectError(error: unknown, address: ServerAddress): ToolError {
  if (error instanceof ToolError) return error
  return new ToolError(
    'database',
    `could not connect to PostgreSQL (${describeAddress(address)}): ${reasonFor(error)}`,
    {
      cause: error,
      hint: connectHint(error, address),
    },
  )
}

/** What the server said about a statement, word for word (S7), with its own hint. */
export function statementError(error: unknown): ToolError {
  const hint = error instanceof DatabaseError ? error.hint : undefined
  const detail = error instanceof DatabaseError && error.detail !== undefined ? `: ${error.detail}` : ''
  return new ToolError('database', `${reasonOf(error)}${detail}`, { cause: error, hint })
}

function reasonFor(error: unknown): string {
  // Node.js tries all addresses of a name and then reports an AggregateError whose own message is empty.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ')
  return reasonOf(error)
}

function connectHint(error: unknown, address: ServerAddress): string | undefined {
  const system = systemErrorCode(error)
  if (system === 'ENOENT' && isSocket(address)) {
    return 'No server has its socket there: check that it runs, and set the host (PGHOST) to its unix_socket_directories.'
  }
  if (system === 'ECONNREFUSED')
    return 'No server listens there: check that it runs, its port (PGPORT) and listen_addresses.'
  if (system === 'EACCES')
    return 'The operating system forbids this user to use the socket: see unix_socket_permissions.'
  if (system === 'ENOTFOUND' || system === 'EAI_AGAIN') return 'The host name (PGHOST) could not be resolved.'
  if (reasonOf(error) === 'timeout expired') return 'Nothing answered in time: check host, port and firewalls.'
  return HINTS[sqlStateOf(error) ?? '']
}

const POOLER = 'Connect to the server itself: a backup cannot go through a connection pooler.'

/** By SQLSTATE (errcodes.txt). */
const HINTS: Readonly<Record<string, string>> = {
  '28P01': `The password is wrong or missing: see ~/.pgpass (PGPASSFILE) and PGPASSWORD.`,
  '28000':
    'The server does not let this user in from here: see its pg_hba.conf, and that the role exists and has LOGIN.',
  '3D000': 'Name a database that exists, such as "postgres" (PGDATABASE or the connection string).',
  '53300':
    'All connections are taken: raise max_connections, or give the role pg_use_reserved_connections (16 and newer).',
  '57P03': 'The server is starting up, shutting down or recovering; try again later.',
  '08P01': POOLER,
  '0A000': POOLER,
}
