/**
 * sslmode as libpq means it, in the terms of Node's TLS.
 *
 * `pg` takes `require` for "verify the certificate" and has no `prefer`; here each mode does what the same word does in
 * psql, so that a string that works there works here and one that is safe there is safe here.
 */
import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import path from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { reasonOf, ToolError } from '../../errors.js'
import { isSocket, type ServerAddress } from './server-address.js'

/** The ways to try, in order: TLS options, or false for an unencrypted connection. */
export function tlsAttempts(address: ServerAddress): (ConnectionOptions | false)[] {
  // A Unix socket never carries TLS.
  if (isSocket(address) || address.sslmode === 'disable') return [false]
  if (address.sslmode === 'allow') return [false, tlsOptions(address)]
  if (address.sslmode === 'prefer') return [tlsOptions(address), false]
  return [tlsOptions(address)]
}

function tlsOptions(address: ServerAddress): ConnectionOptions {
  const certificate = fileOf(address.sslcert, 'postgresql.crt')
  const key = fileOf(address.sslkey, 'postgresql.key')
  const root = address.sslrootcert === 'system' ? undefined : fileOf(address.sslrootcert, 'root.crt')
  const verify = address.sslmode.startsWith('verify-')
  if (verify && root === undefined && address.sslrootcert !== 'system') {
    throw new ToolError('configuration', `sslmode ${address.sslmode} needs a root certificate`, {
      hint: 'Set sslrootcert (PGSSLROOTCERT) to a file, or to "system" for the certificates that Node.js trusts.',
    })
  }
  return {
    // libpq verifies with `require`, too, where there is a root certificate.
    rejectUnauthorized: verify || (address.sslmode === 'require' && root !== undefined),
    ...(root === undefined ? {} : { ca: root }),
    ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    ...(address.sslpassword === undefined ? {} : { passphrase: address.sslpassword }),
    // Only verify-full (and the system's certificates, as in libpq) ties the certificate to the host name.
    ...(address.sslmode === 'verify-full' || address.sslrootcert === 'system'
      ? {}
      : { checkServerIdentity: () => undefined }),
  }
}

function fileOf(given: string | undefined, standard: string): Buffer | undefined {
  const file = given ?? path.join(homedir(), '.postgresql', standard)
  if (given === undefined && !existsSync(file)) return undefined
  try {
    return readFileSync(file)
  } catch (error) {
    throw new ToolError('configuration', `could not read "${file}": ${reasonOf(error)}`, { cause: error })
  }
}
