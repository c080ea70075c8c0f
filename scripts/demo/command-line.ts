/** Runs the real command line as a child process, as the user who runs PostgreSQL, and shows what it prints. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import colors from 'picocolors'
import { ROOT } from '../../test/support/oracles.js'
import { runAsServerUser, serverEnvironment, serverIds, serverUser } from '../../test/support/server-user.js'
import type { Narrator } from './narrator.js'

/** Absolute, since an archive_command must not depend on the PATH of a server. */
export const FRONT = path.join(ROOT, 'dist', 'pgsluice-wal')
const MAIN = path.join(ROOT, 'dist', 'main.js')

/** Why the server's user cannot run what is in this checkout, or undefined where it can. */
export async function whyUnreachable(): Promise<string | undefined> {
  const { exitCode, stderr } = await runAsServerUser(process.execPath, [MAIN, '--version']).catch((error: unknown) => ({
    exitCode: 126,
    stderr: String(error),
  }))
  if (exitCode === 0) return undefined
  const user = serverUser()
  if (user === undefined) return `"${MAIN}" does not run: ${stderr.trim()}`
  return (
    `PostgreSQL does not run as root, and the user "${user.name}" cannot reach "${ROOT}" or "${process.execPath}": ` +
    'run the demo as another user, or from a checkout that everybody can read, such as one below /srv'
  )
}

/** The command line, with its environment settled. */
export class CommandLine {
  readonly #narrator: Narrator
  readonly #environment: NodeJS.ProcessEnv
  readonly #home: string
  #running: ChildProcess | undefined

  constructor(narrator: Narrator, environment: NodeJS.ProcessEnv, home: string) {
    this.#narrator = narrator
    this.#home = home
    const colour = colors.isColorSupported ? { FORCE_COLOR: '1' } : { NO_COLOR: '1' }
    // No configuration file of this machine decides anything here.
    this.#environment = serverEnvironment({ PGSLUICE_CONFIG: '/dev/null', HOME: home, ...colour, ...environment })
  }

  /** Runs one command to its success; rejects when it ends with another exit code. Returns the lines of its stdout. */
  async run(...args: string[]): Promise<string[]> {
    this.#narrator.command(['pgsluice', ...args].join(' '))
    const child = spawn(process.execPath, [MAIN, ...args], {
      ...serverIds(),
      cwd: this.#home,
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#running = child
    const lines: string[] = []
    const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
    await Promise.all([this.#show(child.stdout, lines), this.#show(child.stderr, [])])
    const [code, signal] = await ended
    this.#running = undefined
    if (code !== 0) throw new Error(`"pgsluice ${args[0] ?? ''}" ended with ${code ?? signal ?? 'nothing'}`)
    return lines
  }

  /** Ends a command that still runs, and waits for it. */
  async interrupt(): Promise<void> {
    const child = this.#running
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'close')
    child.kill('SIGTERM')
    await ended
  }

  async #show(stream: Readable, lines: string[]): Promise<void> {
    for await (const line of createInterface({ input: stream, crlfDelay: Infinity })) {
      lines.push(line)
      this.#narrator.output(line)
    }
  }
}
