/**
 * Who the servers of the tests run as, and where their directories lie.
 *
 * PostgreSQL refuses to run as root. Started by root, the harness therefore gives its servers an unprivileged user of
 * this system and makes that user the owner of their directories; started by anyone else, everything runs as that user.
 */
import { execFile, type ExecFileOptions } from 'node:child_process'
import { accessSync, chmodSync, constants, mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

/** A user of this system, as spawn() wants it. */
export interface ServerUser {
  name: string
  uid: number
  gid: number
}

/** The user that servers run as; undefined when they run as the user of the tests. */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  for (const name of ['postgres', 'nobody']) {
    const fields = users.find((candidate) => candidate[0] === name)
    if (fields !== undefined) return { name, uid: Number(fields[2]), gid: Number(fields[3]) }
  }
  throw new Error('the tests run as root and found neither the user "postgres" nor "nobody" to run PostgreSQL as')
}

/** The uid and gid that spawn() needs to run something as the server's user; nothing when that is us. */
export function serverIds(): { uid?: number; gid?: number } {
  const user = serverUser()
  return user === undefined ? {} : { uid: user.uid, gid: user.gid }
}

/** The environment of servers: ours without what would steer libpq or the locale. */
export function serverEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(PG[A-Z]|LC_|LANG)/.test(name))
  return { ...Object.fromEntries(inherited), LC_ALL: 'C', TZ: 'UTC', ...extra }
}

/** What a program left behind. */
export interface ProgramResult {
  exitCode: number
  stdout: string
  stderr: string
}

/** Runs a program to its end and returns what it said; rejects only when it could not be started. */
export function runProgram(
  command: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { maxBuffer: 64 * 2 ** 20, ...options, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error === null) resolve({ exitCode: 0, stdout, stderr })
      else if (typeof error.code === 'number') resolve({ exitCode: error.code, stdout, stderr })
      else if (error.signal) resolve({ exitCode: 255, stdout, stderr: `${stderr}\nended by ${error.signal}` })
      else reject(new Error(`could not run "${command}": ${error.message}`, { cause: error }))
    })
  })
}

/** Runs a program as the user of the servers, in a directory that this user can enter. */
export function runAsServerUser(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<ProgramResult> {
  return runProgram(command, args, { ...serverIds(), cwd: options.cwd ?? '/', env: serverEnvironment(options.env) })
}

/** Gives a file or a whole directory to the user of the servers; nothing to do when that is us. */
export async function giveToServerUser(file: string): Promise<void> {
  const user = serverUser()
  if (user === undefined) return
  const result = await runProgram('chown', ['-R', `${user.uid}:${user.gid}`, file])
  if (result.exitCode !== 0) throw new Error(`could not give "${file}" to ${user.name}: ${result.stderr}`)
}

/**
 * The directory that holds templates and clusters. It lies in the system's temporary directory, since the checkout may
 * be somewhere the server's user cannot go; everyone may enter it, only we may add to it.
 */
export function baseDirectory(): string {
  const uid = process.getuid?.() ?? 0
  const directory = path.join(realpathSync(tmpdir()), `pgsluice-test-${uid}`)
  mkdirSync(directory, { recursive: true, mode: 0o755 })
  if (statSync(directory).uid !== uid) throw new Error(`"${directory}" belongs to someone else`)
  chmodSync(directory, 0o755)
  accessSync(directory, constants.W_OK)
  return directory
}
