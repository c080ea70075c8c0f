/**
 * A bare Debian machine with Debian's PostgreSQL, made of this one: its file system under an overlay in memory, and process
 * ids, mounts and network of its own. Nothing that happens in it changes this machine, no port of it meets
 * another, and all of it is gone when the shell that holds it ends, which it does when this process does.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { newHome, removeHome } from './cluster-registry.js'
import { ROOT } from './oracles.js'
import { childrenOf } from './processes.js'
import { runProgram, type ProgramResult } from './server-user.js'

/** Packages of PostgreSQL for a machine that has none; .ci/run downloads them. */
const PACKAGES = path.join(ROOT, '.cache', 'debian')

/** How to run something in the host. */
export interface HostOptions {
  user: 'root' | 'postgres'
  /** Reaches the network of this machine, and not that of the host. Default false. */
  outside?: boolean
  env?: Readonly<Record<string, string>>
}

/** Makes the host's file system below $1, says so, and reaps until its standard input ends. $2: this checkout. */
const HOLD = `
set -e
exec 3>&1 >&2
host=$1/host
mount -t tmpfs -o mode=755 none "$1"
overlay() {
  mkdir -p "$1/changes" "$1/work" "$3"
  mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/changes,workdir=$1/work" "$3"
}
overlay "$1/root" / "$host"
# it may lie on another file system, which an overlay of the root leaves out
overlay "$1/checkout" "$2" "$host$2"
mount -t proc proc "$host/proc"
mount --rbind /dev "$host/dev"
mount -t tmpfs none "$host/dev/shm"
mount -t tmpfs none "$host/run"
mount -t tmpfs -o mode=1777 none "$host/tmp"
for name in resolv.conf hosts; do
  [ ! -f "/etc/$name" ] || mount --bind "/etc/$name" "$host/etc/$name"
done
# packages must not start services
printf '#!/bin/sh\\nexit 101\\n' > "$host/usr/sbin/policy-rc.d"
chmod 755 "$host/usr/sbin/policy-rc.d"
ip link set lo up 2>/dev/null || busybox ip link set lo up
echo ready >&3
while read -r _; do :; done
`

/** Why this machine cannot be the ground for one, or undefined as far as that can be told without making one. */
export function whyNoDebianHost(): string | undefined {
  if (process.platform !== 'linux') return `this machine cannot be a Debian server: it runs ${process.platform}`
  if (!existsSync('/etc/debian_version')) return 'this machine cannot be a Debian server: it is another distribution'
  if (process.getuid?.() !== 0) return 'this machine cannot change its root directory for us: we are not root'
  try {
    execFileSync('unshare', ['--mount', '--pid', '--net', '--ipc', '--fork', 'true'], { stdio: 'pipe' })
  } catch (error) {
    return `this machine cannot give us namespaces of our own: ${String(error)}`
  }
  if (existsSync('/usr/bin/pg_createcluster') || packages().length > 0) return undefined
  return `Debian's PostgreSQL is not here: run "apt-get install postgresql", or ".ci/run", which downloads it`
}

function packages(): string[] {
  if (!existsSync(PACKAGES)) return []
  return readdirSync(PACKAGES).flatMap((name) => (name.endsWith('.deb') ? [path.join(PACKAGES, name)] : []))
}

/** This machine does not let us mount what a host needs. */
export class GroundError extends Error {}

/** See the head of this file. */
export class DebianHost {
  readonly #home: string
  readonly #holder: ChildProcess
  readonly #pid: number
  #major = ''
  readonly #endpoints = new Set<ChildProcess>()

  /** Makes the host. Rejects with GroundError where this machine cannot; any other error is a failure. */
  static async open(): Promise<DebianHost> {
    const home = newHome()
    const namespaces = ['--mount', '--pid', '--net', '--ipc', '--fork', '--kill-child']
    const holder = spawn('unshare', [...namespaces, 'bash', '-c', HOLD, 'bash', home, ROOT.replace(/\/$/, '')], {
      stdio: ['pipe', 'pipe', 'pipe'],
      cwd: '/',
    })
    let complaint = ''
    holder.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    const first = await createInterface({ input: holder.stdout })[Symbol.asyncIterator]().next()
    if (first.value !== 'ready') {
      removeHome(home)
      throw new GroundError(`this machine cannot be the ground for another one: ${complaint.trim()}`)
    }
    const [pid] = childrenOf(holder.pid!)
    const host = new DebianHost(home, holder, pid!)
    try {
      await host.#install()
      return host
    } catch (error) {
      await host.close()
      throw error
    }
  }

  private constructor(home: string, holder: ChildProcess, pid: number) {
    this.#home = home
    this.#holder = holder
    this.#pid = pid
  }

  /** The major version of Debian's PostgreSQL. */
  get major(): string {
    return this.#major
  }

  async #install(): Promise<void> {
    const found = await this.run('command -v pg_createcluster && ls /usr/lib/postgresql/*/bin/postgres', {
      user: 'root',
    })
    if (found.exitCode !== 0) {
      const script = `export DEBIAN_FRONTEND=noninteractive; dpkg -i ${packages().join(' ')}`
      await this.must(script, { user: 'root' })
    }
    const majors = await this.must('cd /usr/lib/postgresql; ls -d */bin/postgres', { user: 'root' })
    this.#major = String(Math.max(...majors.split('\n').map((line) => Number.parseInt(line, 10) || 0)))
    // who logs in must find it, as he does where it is installed as the page says
    await this.must('node --version', { user: 'postgres' })
  }

  /** As packages leave it on a new machine: one empty cluster, which runs, and nothing of ours. */
  async makeNew(): Promise<void> {
    const script = `
      pg_lsclusters -h | while read -r version name _; do pg_dropcluster --stop "$version" "$name" || exit; done
      rm -rf /etc/pgsluice /var/lib/postgresql/.aws /etc/postgresql/*/* /var/lib/postgresql/*/*
      install -d -o postgres -g postgres /run/postgresql`
    await this.must(script, { user: 'root' })
    await this.makeCluster()
  }

  /** What installing the packages does. */
  async makeCluster(): Promise<void> {
    const script = `pg_createcluster ${this.#major} main; pg_ctlcluster ${this.#major} main start`
    await this.must(script, { user: 'root' })
  }

  /** Runs a script as a user who has just logged in; root's runs in this checkout. Ends at the first failure. */
  run(script: string, options: HostOptions): Promise<ProgramResult> {
    const { user, outside = false, env = {} } = options
    const exports = Object.entries(env).map(([name, value]) => `export ${name}='${value}'\n`)
    const text = `set -e -o pipefail\n${exports.join('')}${user === 'root' ? `cd '${ROOT}'\n` : ''}${script}`
    const login =
      user === 'root' ? ['bash', '-c', text] : ['env', '-i', '/sbin/runuser', '--login', 'postgres', '--command', text]
    return runProgram('nsenter', [...this.#enter(outside), ...login], { cwd: '/', env: rootEnvironment() })
  }

  /** Runs what must succeed, and returns what it printed. */
  async must(script: string, options: HostOptions): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(script, options)
    if (exitCode !== 0) throw new Error(`as ${options.user}:\n${script}\nended with ${exitCode}:\n${stdout}${stderr}`)
    return stdout
  }

  /** Starts an S3 endpoint in the host, with a bucket of that name; returns its URL. */
  async startEndpoint(bucket: string): Promise<string> {
    const program = path.join(ROOT, 'build/test/support/s3-endpoint-process.js')
    const args = [...this.#enter(false), process.execPath, program, `/tmp/endpoint-${this.#endpoints.size}`, bucket]
    const directory = args.at(-2)!
    await this.must(`mkdir '${directory}'`, { user: 'root' })
    const endpoint = spawn('nsenter', args, { cwd: '/', env: rootEnvironment(), stdio: ['pipe', 'pipe', 'inherit'] })
    this.#endpoints.add(endpoint)
    const first = await createInterface({ input: endpoint.stdout })[Symbol.asyncIterator]().next()
    if (first.done === true) throw new Error('the S3 endpoint did not start')
    return first.value
  }

  #enter(outside: boolean): string[] {
    const network = outside ? [] : ['--net']
    return ['--target', String(this.#pid), '--mount', '--pid', '--ipc', ...network, 'chroot', `${this.#home}/host`]
  }

  /** Ends all that runs in the host; its file system goes with it. */
  async close(): Promise<void> {
    for (const endpoint of this.#endpoints) endpoint.stdin?.end()
    if (this.#holder.exitCode === null && this.#holder.signalCode === null) {
      const ended = once(this.#holder, 'exit')
      this.#holder.stdin?.end()
      await ended
    }
    removeHome(this.#home)
  }
}

/** What root has here of proxies, registries and compilers; nothing that this run of npm and these tests have set. */
function rootEnvironment(): NodeJS.ProcessEnv {
  const foreign = /^(AWS_|PG|PGSLUICE_|NODE_|INIT_CWD|npm_(config_local_prefix|lifecycle|package|command|node))/
  const inherited = Object.entries(process.env).filter(([name]) => !foreign.test(name))
  const search = [path.dirname(process.execPath), '/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin']
  return { ...Object.fromEntries(inherited), PATH: [...search, '/sbin', '/bin'].join(':'), TMPDIR: '/tmp' }
}
