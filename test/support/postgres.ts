/**
 * Real PostgreSQL servers for tests: made in a fraction of a second, stopped and crashed at will, gone afterwards.
 *
 * A server listens on a Unix socket in a directory of its own, so that no two of them, of however many test runs, can
 * meet on a port; with `tcp` it also listens on a free port of the loopback interface. What the harness needs (socket,
 * port, fsync off for speed) is given on the command line and never written into the data directory, so that a restored
 * copy of it starts as a server of its own.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { appendFileSync, closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import path from 'node:path'
import { Client } from 'pg'
import { newHome, noteEnded, noteRunning, removeHome } from './cluster-registry.js'
import { postgresBinaries } from './postgres-binaries.js'
import { childrenOf, isRunning, killTree } from './processes.js'
import { giveToServerUser, serverEnvironment, serverIds } from './server-user.js'
import { createDataDirectory } from './template.js'
import { waitUntil } from './wait.js'

/** How to make a cluster. Everything but the major has a default. */
export interface ClusterOptions {
  major: number
  /** Settings: in postgresql.conf of a fresh cluster; on the command line, where they win, of an existing directory. */
  settings?: Readonly<Record<string, string | number | boolean>>
  /** Default `--data-checksums`. `--no-data-checksums` works for every major. */
  initdbArgs?: readonly string[]
  /** Where the data directory lies. One that exists is started as it is (a restored backup); default: a fresh one. */
  directory?: string
  walSegmentSizeMb?: number
  superuser?: string
  /** Runs initdb for this cluster alone, which gives it a system identifier of its own. Default false. */
  ownInitdb?: boolean
  /** Listens on a free TCP port of 127.0.0.1 too. Default false. */
  tcp?: boolean
  /** Environment for the server and its archive_command. */
  env?: NodeJS.ProcessEnv
  /** Whether to start it. Default true. */
  start?: boolean
}

/** How long and for what `start()` waits. */
export interface StartOptions {
  /** `ready`: until it takes connections; `running`: until it replays or takes connections; `none`: not at all. */
  wait?: 'ready' | 'running' | 'none'
  timeoutMs?: number
  /** Settings for this start only. */
  settings?: Readonly<Record<string, string | number | boolean>>
}

/** Makes a cluster and starts it. The test must `destroy()` it, or declare it with `await using`. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const home = newHome()
  const fresh = options.directory === undefined || !existsSync(path.join(options.directory, 'PG_VERSION'))
  const cluster = new Cluster(home, options, fresh)
  try {
    mkdirSync(cluster.socketDirectory, { mode: 0o755 })
    await giveToServerUser(home)
    if (fresh) {
      const { major, initdbArgs = ['--data-checksums'], walSegmentSizeMb } = options
      const template = { major, initdbArgs, walSegmentSizeMb, superuser: cluster.superuser }
      await createDataDirectory(cluster.pgdata, template, options.ownInitdb ?? false)
      const lines = Object.entries(options.settings ?? {}).map(([name, value]) => `${name} = ${quote(value)}\n`)
      appendFileSync(path.join(cluster.pgdata, 'postgresql.conf'), lines.join(''))
    } else {
      await giveToServerUser(cluster.pgdata)
    }
    if (options.start ?? true) await cluster.start()
    return cluster
  } catch (error) {
    await cluster.destroy()
    throw error
  }
}

/** One PostgreSQL cluster and its server. */
export class Cluster {
  readonly major: number
  readonly pgdata: string
  readonly socketDirectory: string
  readonly superuser: string
  /** The port: part of the socket's name, and a TCP port only with the option `tcp`. */
  port = 5432
  readonly #home: string
  readonly #options: ClusterOptions
  readonly #log: string
  readonly #commandLineSettings: Readonly<Record<string, string | number | boolean>>
  #server: ChildProcess | undefined

  constructor(home: string, options: ClusterOptions, fresh: boolean) {
    this.#home = home
    this.#options = options
    this.#commandLineSettings = fresh ? {} : (options.settings ?? {})
    this.#log = path.join(home, 'log')
    this.major = options.major
    this.superuser = options.superuser ?? 'postgres'
    this.pgdata = options.directory ?? path.join(home, 'data')
    this.socketDirectory = path.join(home, 's')
    const socket = path.join(this.socketDirectory, '.s.PGSQL.65535')
    if (socket.length > 103) throw new Error(`"${socket}" is too long for a socket: set TMPDIR to a shorter path`)
  }

  /** What libpq programs and pgsluice need to find the server. */
  get env(): { PGHOST: string; PGPORT: string; PGUSER: string; PGDATABASE: string } {
    return { PGHOST: this.socketDirectory, PGPORT: String(this.port), PGUSER: this.superuser, PGDATABASE: 'postgres' }
  }

  /** The URI of the database `postgres`, over the socket. */
  get connectionString(): string {
    const host = encodeURIComponent(this.socketDirectory)
    return `postgresql://${this.superuser}@/postgres?host=${host}&port=${this.port}`
  }

  /** The process id of the postmaster while it runs. */
  get pid(): number | undefined {
    return this.#server?.pid
  }

  /** Starts the server; rejects with its log when it ends instead. */
  async start(options: StartOptions = {}): Promise<void> {
    if (this.#server !== undefined) throw new Error('the server runs already')
    if (this.#options.tcp === true) this.port = await freePort()
    const settings = {
      port: this.port,
      listen_addresses: this.#options.tcp === true ? '127.0.0.1' : '',
      unix_socket_directories: this.socketDirectory,
      fsync: 'off',
      logging_collector: 'off',
      ...this.#commandLineSettings,
      ...options.settings,
    }
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${String(value)}`])
    const log = openSync(this.#log, 'a')
    const server = spawn(postgresBinaries(this.major).postgres, ['-D', this.pgdata, ...args], {
      ...serverIds(),
      // A group of its own: an interrupt from the keyboard is for the test runner, which ends the server in its way.
      detached: true,
      cwd: this.#home,
      env: serverEnvironment({ HOME: this.#home, ...this.#options.env }),
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    // It must not keep this process alive: a test that forgot it would hang instead of fail (cluster-registry.ts).
    server.unref()
    const { pid } = server
    if (pid === undefined) throw new Error(`could not start "${postgresBinaries(this.major).postgres}"`)
    this.#server = server
    noteRunning(pid, this.pgdata)
    server.once('exit', () => {
      noteEnded(pid)
      this.#server = undefined
    })
    const wait = options.wait ?? 'ready'
    if (wait === 'none') return
    await waitUntil(
      `the server on "${this.pgdata}" to be ${wait}`,
      () => {
        if (this.#server !== server) throw new Error(`the server ended while it was starting:\n${this.logTail()}`)
        const status = this.#status(pid)
        return status === 'ready' || (wait === 'running' && status === 'standby')
      },
      options.timeoutMs,
    )
  }

  /** Stops the server and waits for its end. Nothing happens when it is down. */
  async stop(mode: 'smart' | 'fast' | 'immediate' = 'fast'): Promise<void> {
    const signals = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const
    this.#server?.kill(signals[mode])
    await this.waitForEnd()
  }

  /** Kills the postmaster alone; its backends notice and end by themselves. Waits for the end of all. */
  async kill(): Promise<void> {
    const pid = this.#server?.pid
    const backends = pid === undefined ? [] : childrenOf(pid)
    this.#server?.kill('SIGKILL')
    await this.waitForEnd()
    await waitUntil('the backends to end', () => !backends.some(isRunning))
  }

  /** Kills the postmaster and all backends in one blow, as a loss of power would. The server is down afterwards. */
  async crash(): Promise<void> {
    const pid = this.#server?.pid
    const killed = pid === undefined ? [] : killTree(pid)
    await this.waitForEnd()
    await waitUntil('the backends to end', () => !killed.some(isRunning))
  }

  /** Waits until the postmaster has ended, by whatever cause. */
  async waitForEnd(timeoutMs = 60_000): Promise<void> {
    await waitUntil(`the server on "${this.pgdata}" to end`, () => this.#server === undefined, timeoutMs)
  }

  /** Everything the server has logged since the cluster was made. */
  logText(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : ''
  }

  /** The end of the log, for error messages. */
  logTail(): string {
    return this.logText().split('\n').slice(-30).join('\n')
  }

  /** Waits until the log matches, from `offset` (a length of `logText()`) on; returns the match. */
  async waitForLog(pattern: RegExp, offset = 0, timeoutMs = 60_000): Promise<RegExpExecArray> {
    return await waitUntil(
      `the log to match ${String(pattern)}`,
      () => pattern.exec(this.logText().slice(offset)) ?? undefined,
      timeoutMs,
    )
  }

  /** Ends the server and removes everything, except a data directory that the test itself provided. */
  async destroy(): Promise<void> {
    await this.stop('immediate')
    removeHome(this.#home)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy()
  }

  /** Line 8 of postmaster.pid says how far the start is; line 1 must be this start's, not a crashed one's. */
  #status(pid: number): string | undefined {
    try {
      const lines = readFileSync(path.join(this.pgdata, 'postmaster.pid'), 'utf8').split('\n')
      return lines[0] === String(pid) ? lines[7]?.trim() : undefined
    } catch {
      return undefined
    }
  }
}

/** Runs one statement as the superuser on a connection of its own. */
export async function query<T extends object = Record<string, unknown>>(
  cluster: Cluster,
  sql: string,
  params: unknown[] = [],
  database = 'postgres',
): Promise<T[]> {
  return await withClient(cluster, async (client) => (await client.query<T>(sql, params)).rows, database)
}

/** Lends a connection of the superuser. */
export async function withClient<T>(
  cluster: Cluster,
  use: (client: Client) => Promise<T>,
  database?: string,
): Promise<T> {
  const client = await openClient(cluster, database)
  try {
    return await use(client)
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** Opens a connection of the superuser; a server that goes away rejects its queries and nothing else. */
export async function openClient(cluster: Cluster, database = 'postgres'): Promise<Client> {
  const client = new Client({ host: cluster.socketDirectory, port: cluster.port, user: cluster.superuser, database })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

function quote(value: string | number | boolean): string {
  return `'${String(value).replaceAll("'", "''")}'`
}

/** A port of the loopback interface that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
