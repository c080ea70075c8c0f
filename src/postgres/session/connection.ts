/**
 * One connection to a PostgreSQL server, as a base backup needs it.
 *
 * The server ties a backup to the session that started it (P1): when that session ends, for whatever reason, the backup
 * is gone and everything read is worthless. So there is one dedicated client and never a pool, nothing on either side
 * may time it out (P3, P4), and its loss is a signal that everybody who works for the backup can listen to (P2).
 */
import { Client, DatabaseError } from 'pg'
import type { ConnectionOptions } from 'node:tls'
import { reasonOf, ToolError } from '../../errors.js'
import { requestCancel } from './cancel.js'
import { connectError, sqlStateOf, statementError } from './connect-errors.js'
import { passwordFor } from './password-file.js'
import { describeAddress, resolveAddress, type ServerAddress } from './server-address.js'
import { tlsAttempts } from './ssl.js'

/** Options of {@link connectToServer}. */
export interface ConnectOptions {
  /** A database name, a connection string or a URI; what it leaves open is decided as libpq does (PG*, service file). */
  dbname?: string | undefined
  /** Time for the connection to come about. Default: connect_timeout of the string or environment, else 30 s. */
  connectTimeoutMs?: number | undefined
  /** Cancels what runs and closes the session. */
  signal?: AbortSignal | undefined
}

/** Time for the server to answer a cancel request and for a connection to close before its socket is destroyed. */
const CLOSE_DEADLINE_MS = 10_000
/** A cancel request that overtakes its statement finds the backend idle and is lost; so it is repeated. */
const CANCEL_EVERY_MS = 500

/**
 * Settings that hold in every version; on the start-up packet, where they win over ALTER ROLE … SET and ALTER DATABASE …
 * SET and are in force before the first statement (P3). A search path of pg_catalog alone means that no one's function
 * stands in for the server's.
 */
const STARTUP_SETTINGS: Readonly<Record<string, string>> = {
  statement_timeout: '0',
  lock_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  search_path: 'pg_catalog',
  DateStyle: 'ISO',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  max_parallel_workers_per_gather: '0',
}

/** Settings that an older server does not know, by the version that brought them (P3). */
const LATER_SETTINGS = [
  { since: 140_000, name: 'idle_session_timeout', value: '0' },
  { since: 170_000, name: 'transaction_timeout', value: '0' },
] as const

/**
 * Connects to the server. Rejects with a ToolError `database` that names host, port, user and database, or with the
 * reason of the signal. The caller ends the session.
 */
export async function connectToServer(options: ConnectOptions = {}): Promise<Session> {
  const { signal } = options
  signal?.throwIfAborted()
  const address = resolveAddress(options.dbname)
  const timeoutMs = options.connectTimeoutMs ?? address.connectTimeoutMs
  const client = await openClient(address, timeoutMs, signal)
  const session = new Session(client, address, signal)
  try {
    await session.prepare()
    return session
  } catch (error) {
    await session.end()
    throw signal?.aborted === true ? signal.reason : connectError(error, address)
  }
}

/** An open connection. Statements run one after the other in the order they were given. */
export class Session {
  /** Host, port, user and database in words. */
  readonly description: string
  /** The role that we connected as, for the GRANTs in hints. */
  readonly user: string
  readonly database: string
  readonly backendPid: number
  readonly #client: Client
  readonly #address: ServerAddress
  readonly #signal: AbortSignal | undefined
  readonly #lost = new AbortController()
  #versionNum = 0
  /** Settles when everything asked for so far has been answered; the next statement waits for it. */
  #tail: Promise<unknown> = Promise.resolve()
  /** The statement that the server has, settling when it is answered; closing waits for it. */
  #statement: Promise<unknown> | undefined
  #running = 0
  #closing: Promise<void> | undefined
  readonly #abort = (): void => void this.#close()

  constructor(client: Client, address: ServerAddress, signal: AbortSignal | undefined) {
    this.#client = client
    this.#address = address
    this.#signal = signal
    this.description = describeAddress(address)
    this.user = address.user
    this.database = address.database
    this.backendPid = backendKeyOf(client).pid
    client.on('error', (error) => this.lose(error))
    client.on('end', () => this.lose(new Error('the server closed the connection')))
    signal?.addEventListener('abort', this.#abort, { once: true })
    if (signal?.aborted === true) this.#abort()
  }

  /** Asks for the version and turns off the time limits that it brought; {@link connectToServer} has done it. */
  async prepare(): Promise<void> {
    const [row] = await this.query<{ version: string }>(`select current_setting('server_version_num') as version`)
    this.#versionNum = Number(row?.version)
    for (const { since, name, value } of LATER_SETTINGS) {
      if (this.#versionNum >= since) await this.query('select set_config($1, $2, false)', [name, value])
    }
  }

  /** server_version_num, such as 180004. */
  get versionNum(): number {
    return this.#versionNum
  }

  /** Whether we closed it, or are about to. */
  get closed(): boolean {
    return this.#closing !== undefined
  }

  /** Aborted, with a ToolError as its reason, as soon as the connection is lost; never by `end()` or the signal. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** Whether a statement runs or waits its turn. */
  get busy(): boolean {
    return this.#running > 0
  }

  /**
   * Runs one statement and returns its rows. Rejects with a ToolError `database` with the server's words; when the
   * connection is lost with the reason of `lost`; when the signal is aborted with its reason, after the statement was
   * cancelled and the session closed.
   */
  async query<T extends object>(sql: string, params: readonly unknown[] = []): Promise<T[]> {
    this.#running += 1
    const turn = this.#tail.then(() => this.#run<T>(sql, params))
    this.#tail = turn.catch(() => undefined)
    try {
      return await turn
    } finally {
      this.#running -= 1
    }
  }

  async #run<T extends object>(sql: string, params: readonly unknown[]): Promise<T[]> {
    this.#throwIfUnusable()
    try {
      const statement = this.#client.query<T>(sql, [...params])
      this.#statement = statement.catch(() => undefined)
      return (await statement).rows
    } catch (error) {
      if (this.#signal?.aborted === true) {
        // Not before the session is closed, so that the caller finds the server rid of us.
        await this.#closing
        throw this.#signal.reason
      }
      // What ended the session says why; the "connection terminated" that follows does not.
      if (!(error instanceof DatabaseError) || error.severity === 'FATAL' || error.severity === 'PANIC')
        this.lose(error)
      this.lost.throwIfAborted()
      throw statementError(error)
    } finally {
      this.#statement = undefined
    }
  }

  #throwIfUnusable(): void {
    this.#signal?.throwIfAborted()
    this.lost.throwIfAborted()
    if (this.#closing !== undefined) throw new ToolError('database', `the connection is closed (${this.description})`)
  }

  /** Declares the connection lost: its end was noticed, or a probe went unanswered. Only the first cause counts. */
  lose(cause: unknown): void {
    if (this.#closing !== undefined || this.lost.aborted) return
    const message = `the connection to PostgreSQL was lost (${this.description}): ${reasonOf(cause)}`
    this.#lost.abort(new ToolError('database', message, { cause, hint: LOST_HINTS[sqlStateOf(cause) ?? ''] }))
    // A server that does not answer would keep the socket, and with it this process, for ever.
    this.#client.connection.stream.destroy()
  }

  /** Closes the connection; cancels what runs. May be called twice, and never rejects. */
  async end(): Promise<void> {
    await this.#close()
  }

  #close(): Promise<void> {
    this.#closing ??= this.#closeOnce()
    return this.#closing
  }

  async #closeOnce(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#abort)
    // Clean-up has a deadline of its own: the signal may be what brought us here. With its socket the statement ends, too.
    const deadline = setTimeout(() => this.#client.connection.stream.destroy(), CLOSE_DEADLINE_MS)
    let idle = this.#statement === undefined || this.lost.aborted
    const answered = this.#statement?.then(() => (idle = true))
    try {
      while (!idle) {
        await requestCancel(this.#address, backendKeyOf(this.#client))
        let timer: NodeJS.Timeout | undefined
        const pause = new Promise<void>((resolve) => (timer = setTimeout(resolve, CANCEL_EVERY_MS)))
        await Promise.race([answered, pause])
        clearTimeout(timer)
      }
      await this.#client.end()
    } catch {
      // The connection is gone, which is what was wanted.
    } finally {
      clearTimeout(deadline)
    }
  }
}

/** By SQLSTATE: what ends a session from outside. */
const LOST_HINTS: Readonly<Record<string, string>> = {
  '57P01': 'An administrator ended the session, or the server was shut down.',
  '57P02': 'A server process crashed; see the log of the server.',
  '57P05': 'idle_session_timeout ended the session.',
}

async function openClient(address: ServerAddress, timeoutMs: number, signal: AbortSignal | undefined): Promise<Client> {
  const attempts = tlsAttempts(address)
  for (const [index, ssl] of attempts.entries()) {
    try {
      return await openOnce(address, ssl, timeoutMs, signal)
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason
      if (index === attempts.length - 1 || !isAboutTls(error)) throw connectError(error, address)
    }
  }
  throw new ToolError('database', `could not connect to PostgreSQL (${describeAddress(address)})`)
}

/** As libpq with `prefer` and `allow`: the other way is tried when TLS is missing or pg_hba.conf has no line for this one. */
function isAboutTls(error: unknown): boolean {
  return reasonOf(error).includes('SSL') || sqlStateOf(error) === '28000'
}

async function openOnce(
  address: ServerAddress,
  ssl: ConnectionOptions | false,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<Client> {
  const settings = Object.entries(STARTUP_SETTINGS).map(([name, value]) => `-c ${name}=${value}`)
  const client = new Client({
    host: address.host,
    port: address.port,
    user: address.user,
    database: address.database,
    // Called only when the server asks.
    password: () => passwordFor(address),
    ssl,
    // Otherwise `pg` would take PGSSLNEGOTIATION, and fail for connections without TLS.
    sslnegotiation: 'postgres',
    // The user's own options come first: ours must win.
    options: [address.options, ...settings].join(' ').trim(),
    application_name: 'pgsluice',
    client_encoding: 'UTF8',
    connectionTimeoutMillis: timeoutMs,
    // Between two probes the connection is silent for seconds, for minutes while the server checkpoints.
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
  })
  const destroy = (): void => void client.connection.stream.destroy()
  // Until there is a Session: an error without a listener would end the process.
  client.on('error', () => undefined)
  signal?.addEventListener('abort', destroy, { once: true })
  try {
    await client.connect()
    return client
  } catch (error) {
    destroy()
    throw error
  } finally {
    signal?.removeEventListener('abort', destroy)
  }
}

/** `pg` keeps the BackendKeyData message in two properties that its types do not mention. */
function backendKeyOf(client: Client): { pid: number; secretKey: number } {
  const { processID, secretKey } = client as unknown as { processID: number | null; secretKey: number | null }
  return { pid: processID ?? 0, secretKey: secretKey ?? 0 }
}
