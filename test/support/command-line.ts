/**
 * Runs the real command line as a child process: as the user who runs PostgreSQL, in a process group of its own, with a
 * home and a temporary directory that nobody else has, so that whatever it leaves behind shows.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import type { ReportEvent } from '#src/report.js'
import { newHome, removeHome } from './cluster-registry.js'
import { ROOT } from './oracles.js'
import { giveToServerUser, runAsServerUser, serverEnvironment, serverIds, serverUser } from './server-user.js'
import { waitUntil } from './wait.js'

export const MAIN = path.join(ROOT, 'dist', 'main.js')
/** For archive_command and restore_command: absolute, since a server has no PATH worth relying on. */
export const FRONT = path.join(ROOT, 'dist', 'pgsluice-wal')

/** A line of `--json`: an event, or the last line. */
export type JsonLine =
  | ReportEvent
  | { type: 'result'; backup?: Record<string, unknown>; restore?: Record<string, unknown> }
  | { type: 'error'; message: string; exitCode: number }

/** How to run a command. */
export interface CommandOptions {
  /** Added to an environment that holds nothing of libpq, AWS and pgsluice. */
  env?: NodeJS.ProcessEnv
  /** Default: its empty home. */
  cwd?: string
  /** Default true: as the owner of the clusters. */
  asServerUser?: boolean
}

/** What a command left. */
export interface CommandResult {
  /** 128 and the number of the signal where one killed it, as a shell says it. */
  exitCode: number
  stdout: string
  stderr: string
  lines: JsonLine[]
}

const running = new Set<RunningCommand>()
process.on('exit', () => {
  for (const command of running) command.kill('SIGKILL')
})

/** Why this machine cannot run the command line as the owner of the clusters, or undefined where it can. */
export async function whyNoCommandLine(): Promise<string | undefined> {
  const tried = await runAsServerUser(process.execPath, [MAIN, '--version']).catch((error: unknown) => ({
    exitCode: 126,
    stderr: String(error),
  }))
  if (tried.exitCode === 0) return undefined
  const user = serverUser()?.name ?? 'this user'
  return `this machine cannot run "${MAIN}" as ${user}: ${tried.stderr.trim()}`
}

/** Starts a command; the test awaits its `ended`. */
export async function startCommand(args: readonly string[], options: CommandOptions = {}): Promise<RunningCommand> {
  const home = newHome()
  const asServerUser = options.asServerUser ?? true
  if (asServerUser) await giveToServerUser(home)
  // A variable that is undefined is not passed on.
  const foreign = Object.keys(process.env).filter((name) => /^(AWS_|PGSLUICE_|NODE_)/.test(name))
  const child = spawn(process.execPath, [MAIN, ...args], {
    ...(asServerUser ? serverIds() : {}),
    cwd: options.cwd ?? home,
    env: {
      ...serverEnvironment(Object.fromEntries(foreign.map((name) => [name, undefined]))),
      HOME: home,
      TMPDIR: home,
      NO_COLOR: '1',
      PGSLUICE_RETRY_TIME: '1s',
      ...options.env,
    },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return new RunningCommand(child, args, home)
}

/** The environment of the tests without what they themselves are told by it: to a command those are misspelt settings. */
export function environmentOfCommands(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PGSLUICE_')))
}

/** Runs a command to its end, and proves that it left neither a process nor a file behind. */
export async function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return (await startCommand(args, options)).ended
}

/** A command that was started. */
export class RunningCommand {
  readonly pid: number
  /** Rejects where it left a process or a file. */
  readonly ended: Promise<CommandResult>
  readonly #args: readonly string[]
  #stdout = ''
  #stderr = ''
  #over = false

  constructor(child: ChildProcess, args: readonly string[], home: string) {
    this.#args = args
    const { pid } = child
    if (pid === undefined) throw new Error('the command did not start')
    this.pid = pid
    running.add(this)
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text))
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
    this.ended = this.#end(child, home)
    this.ended.catch(() => undefined) // whoever awaits it is told; until then it is no unhandled rejection
  }

  /** What it has printed so far as JSON lines. */
  get lines(): JsonLine[] {
    return this.#stdout
      .split('\n')
      .slice(0, -1)
      .flatMap((line) => (line.startsWith('{"type"') ? [JSON.parse(line) as JsonLine] : []))
  }

  get stderr(): string {
    return this.#stderr
  }

  /** The first event of that type that is as wanted. Fails with what it printed when it ends before. */
  async waitForEvent<T extends ReportEvent['type']>(
    type: T,
    wanted: (event: Extract<ReportEvent, { type: T }>) => boolean = () => true,
  ): Promise<Extract<ReportEvent, { type: T }>> {
    return waitUntil(`the event "${type}" of "${this.#args.join(' ')}"`, () => {
      const found = this.lines.find((line): line is Extract<ReportEvent, { type: T }> => line.type === type)
      if (found !== undefined && wanted(found)) return found
      if (this.#over) throw new Error(`it ended before "${type}": ${this.#stdout}${this.#stderr}`)
      return undefined
    })
  }

  /** Sends a signal to the command, and to whatever it has started. */
  kill(signal: NodeJS.Signals): void {
    try {
      process.kill(-this.pid, signal)
    } catch {
      // It has ended.
    }
  }

  async #end(child: ChildProcess, home: string): Promise<CommandResult> {
    const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
    this.#over = true
    running.delete(this)
    const exitCode = code ?? 128 + SIGNAL_NUMBERS[signal ?? '']!
    const files = existsSync(home) ? readdirSync(home) : []
    const hasProcesses = groupExists(this.pid)
    removeHome(home)
    assert.deepEqual(files, [], 'the command left files in its home or temporary directory')
    assert.equal(hasProcesses, false, 'the command left a process')
    return { exitCode, stdout: this.#stdout, stderr: this.#stderr, lines: this.lines }
  }
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGTERM: 15 }

function groupExists(pid: number): boolean {
  try {
    process.kill(-pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
