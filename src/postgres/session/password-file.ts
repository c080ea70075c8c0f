/**
 * The password file, as libpq reads it (passwordFromFile() in fe-connect.c). Read only when the server asks for a
 * password, so a file with wrong permissions is nobody's problem as long as it is not needed.
 */
import { readFileSync, statSync } from 'node:fs'
import { reasonOf, systemErrorCode, ToolError } from '../../errors.js'
import { describeAddress, isSocket, SOCKET_DIRECTORIES, type ServerAddress } from './server-address.js'

/** The password for an address: the given one, else the password file's. Throws ToolError when there is none. */
export function passwordFor(address: ServerAddress): string {
  const password = address.password ?? findPassword(readPasswordFile(address.passfile), address)
  if (password !== undefined && password !== '') return password
  throw new ToolError(
    'database',
    `could not connect to PostgreSQL (${describeAddress(address)}): the server asks for a password and none is known`,
    { hint: `Put it into the password file ("${address.passfile}") or PGPASSWORD.` },
  )
}

/** The password of the first line that matches; a backslash takes `:` and `\` for what they are, `*` matches anything. */
export function findPassword(text: string, address: ServerAddress): string | undefined {
  // libpq calls a default socket directory localhost.
  const hosts = isSocket(address) && SOCKET_DIRECTORIES.includes(address.host) ? ['localhost'] : []
  const wanted = [[address.host, ...hosts], [String(address.port)], [address.database], [address.user]]
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const fields = /^((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):((?:[^:\\]|\\.)*):(.*)$/.exec(line)?.slice(1)
    if (fields === undefined) continue
    const matches = wanted.every(
      (values, index) => fields[index] === '*' || values.includes(unescape(fields[index] ?? '')),
    )
    if (matches) return unescape(/^(?:[^:\\]|\\.)*/.exec(fields[4] ?? '')?.[0] ?? '')
  }
  return undefined
}

function unescape(text: string): string {
  return text.replace(/\\(.)/g, '$1')
}

function readPasswordFile(file: string): string {
  try {
    // libpq ignores such a file with a warning; here it is needed, and its password known to others.
    if ((statSync(file).mode & 0o077) !== 0) {
      throw new ToolError('configuration', `password file "${file}" has group or world access`, {
        hint: 'Its permissions should be u=rw (0600) or less.',
      })
    }
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof ToolError) throw error
    if (systemErrorCode(error) === 'ENOENT') return ''
    throw new ToolError('configuration', `could not read password file "${file}": ${reasonOf(error)}`, { cause: error })
  }
}
