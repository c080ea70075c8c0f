/** The cancel request of PostgreSQL's protocol: a message on a connection of its own (CancelRequest in the manual). */
import { connect, type Socket } from 'node:net'
import path from 'node:path'
import { isSocket, type ServerAddress } from './server-address.js'

const CANCEL_REQUEST_CODE = 80_877_102
/** Long enough for a slow network, short enough for an impatient user: closing the connection comes after it anyway. */
const DEADLINE_MS = 5_000

/**
 * Asks the server to cancel what a backend is doing. Resolves when the server has taken the request (it closes the
 * connection then) or the deadline has passed, and never rejects: it is a courtesy before the connection is closed.
 * It goes without TLS, as libpq's does: the server reads it before it looks at pg_hba.conf.
 */
export function requestCancel(address: ServerAddress, backend: { pid: number; secretKey: number }): Promise<void> {
  const message = Buffer.alloc(16)
  message.writeInt32BE(message.length, 0)
  message.writeInt32BE(CANCEL_REQUEST_CODE, 4)
  message.writeInt32BE(backend.pid, 8)
  message.writeInt32BE(backend.secretKey, 12)
  return new Promise((resolve) => {
    const socket: Socket = isSocket(address)
      ? connect({ path: path.join(address.host, `.s.PGSQL.${address.port}`) })
      : connect({ host: address.host, port: address.port })
    const deadline = setTimeout(() => socket.destroy(), DEADLINE_MS)
    socket.once('connect', () => socket.end(message))
    socket.on('error', () => undefined)
    socket.once('close', () => {
      clearTimeout(deadline)
      resolve()
    })
    socket.resume()
  })
}
