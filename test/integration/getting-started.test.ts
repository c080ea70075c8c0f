/**
 * README.md and docs/getting-started.md, executed block by block in their order on a bare Debian machine with Debian's
 * PostgreSQL. Every block has to be used: an `sh` block is run as it stands, a block of another language that begins with the
 * name of a file goes into that file, and one that the test does not know what to do with fails it. What a
 * reader replaces by something of his own is in SUBSTITUTIONS, and nowhere else.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { after, describe, test } from 'node:test'
import { DebianHost, GroundError, whyNoDebianHost } from '../support/debian-host.js'
import { readGuide, type Block } from '../support/guide.js'
import { ROOT } from '../support/oracles.js'
import { waitUntil } from '../support/wait.js'

/** Blocks that .ci/run executes, in the same checkout, and the commands by which it does. */
const RUN_BY_CI: Readonly<Record<string, readonly RegExp[]>> = {
  'npm ci && npm run demo\n': [/^npm ci\b/m, /^npm run --silent demo$/m],
  'npm cit\n': [/^npm ci\b/m, /^npm test$/m],
}

/** Blocks that are no commands and no files. */
const PICTURES = [/^ +server under load +bucket/]

const BUILT = 'this checkout is built: by npm ci in .ci/run, and before the tests'

/** What a reader replaces, page by page. Each has to be there. */
const SUBSTITUTIONS: Readonly<Record<string, readonly Substitution[]>> = {
  'README.md': [
    { text: 'npm ci && npm pack', by: () => 'npm pack --ignore-scripts', why: BUILT },
    { text: '# endpoint: https://s3.example.net', by: ({ endpoint }) => `endpoint: ${endpoint}`, why: 'his own store' },
    {
      text: '# postgresql.conf',
      by: ({ major }) => `# /etc/postgresql/${major}/main/postgresql.conf`,
      why: 'its place',
    },
    { text: '/usr/local/bin/pgsluice-wal', by: ({ front }) => front, why: 'the text says which command prints it' },
    { text: '/usr/local/bin/node', by: ({ node }) => node, why: 'the text says which command prints it' },
    { text: '2026-11-22 18:45:00+01', by: ({ instant }) => instant, why: 'an instant after his own backup' },
  ],
  'docs/getting-started.md': [
    { text: 'npm ci && npm pack', by: () => 'npm pack --ignore-scripts', why: BUILT },
    { text: '# endpoint: https://s3.example.net', by: ({ endpoint }) => `endpoint: ${endpoint}`, why: 'his own store' },
    { text: '/usr/local/bin/pgsluice-wal', by: ({ front }) => front, why: 'the text says that init prints it' },
    { text: '/usr/bin/node', by: ({ node }) => node, why: 'the text says that init prints it' },
    { text: '15 main', by: ({ major }) => `${major} main`, why: 'the major version that this Debian has' },
    { text: '/15/main', by: ({ major }) => `/${major}/main`, why: 'the major version that this Debian has' },
  ],
}

interface Substitution {
  text: string
  by: (values: Values) => string
  why: string
}

/** What stands for something of the reader's. */
interface Values {
  endpoint: string
  major: string
  front: string
  node: string
  instant: string
}

const unfit = whyNoDebianHost()
const host = unfit ?? (await DebianHost.open().catch(reasonToSkip))
const skip = typeof host === 'string' ? host : false

function reasonToSkip(error: unknown): string {
  if (error instanceof GroundError) return error.message
  throw error
}

describe('a stranger gets started with', { skip }, () => {
  const installed = new Set<string>()

  after(async () => {
    if (host instanceof DebianHost) await host.close()
  })

  for (const page of ['README.md', 'docs/getting-started.md']) {
    test(page, async () => {
      assert.ok(host instanceof DebianHost)
      await host.makeNew()
      await new Walk(host, page, await host.startEndpoint('backups'), installed).go()
    })
  }
})

/** One page, from its first block to its last. */
class Walk {
  readonly #host: DebianHost
  readonly #page: string
  readonly #installed: Set<string>
  readonly #values: Values
  readonly #unused: Set<Substitution>
  #user: 'root' | 'postgres' | undefined
  /** Scripts that made the configuration of pgsluice, with their users: a new host needs them again. */
  readonly #configuration: { script: string; user: 'root' | 'postgres' }[] = []
  #rows = 0

  constructor(host: DebianHost, page: string, endpoint: string, installed: Set<string>) {
    this.#host = host
    this.#page = page
    this.#installed = installed
    this.#values = { endpoint, major: host.major, front: '', node: '', instant: '' }
    this.#unused = new Set(SUBSTITUTIONS[page])
  }

  async go(): Promise<void> {
    const steps = readGuide(this.#page)
    assert.ok(steps.length > 10)
    for (const step of steps) {
      if ('marker' in step) await this.#scene(step.marker)
      else await this.#use(step)
    }
    assert.deepEqual(
      [...this.#unused].map(({ text }) => text),
      [],
      'these are not in the page any more',
    )
  }

  async #use(block: Block): Promise<void> {
    const place = `${this.#page}, line ${block.line}`
    const steps = RUN_BY_CI[block.text]
    if (steps !== undefined) {
      const ci = readFileSync(path.join(ROOT, '.ci/run'), 'utf8')
      for (const step of steps) assert.match(ci, step, `${place}: .ci/run does not do this`)
      return
    }
    if (PICTURES.some((picture) => picture.test(block.text))) return
    const text = this.#substituted(block.text)
    const file = /^# ([~/][\w./~-]*)$/m.exec(text.split('\n', 1)[0] ?? '')?.[1]
    if (block.language === 'sh') await this.#run(text, place)
    else if (block.language === 'ts') await this.#runProgram(text, place)
    else if (file !== undefined) await this.#run(`cat >> ${file} <<'end of block'\n${text}end of block\n`, place)
    else assert.fail(`${place}: nobody executes or uses this block; say in its first line which file it goes into`)
  }

  #substituted(text: string): string {
    let result = text
    for (const substitution of SUBSTITUTIONS[this.#page] ?? []) {
      if (!text.includes(substitution.text)) continue
      this.#unused.delete(substitution)
      result = result.replaceAll(substitution.text, substitution.by(this.#values))
    }
    return result
  }

  async #run(script: string, place: string): Promise<void> {
    const user = this.#user
    assert.ok(user !== undefined, `${place}: nothing says as whom`)
    const isInstallation = script.includes('npm install --global')
    // both pages begin with it
    if (isInstallation && this.#installed.has(script)) return
    // the registry is not in the host
    const surroundings = isInstallation ? { outside: true, env: await this.#offerAddon() } : {}
    const { exitCode, stdout, stderr } = await this.#host.run(script, { user, ...surroundings })
    assert.equal(exitCode, 0, `${place}, as ${user}:\n${script}\n${stdout}${stderr}${await this.#serverLog()}`)
    if (isInstallation) this.#installed.add(script)
    if (/\/etc\/pgsluice|~\/\.aws/.test(script)) this.#configuration.push({ script, user })
    if (script.includes('pgsluice check')) assert.match(stdout, /archiving.*reached the repository/, place)
  }

  /**
   * The addon as npm ci has built it in this checkout, for npm to find where it would look for a prebuilt one: a minute of
   * compiling less. That a global installation builds it is proven by scripts/check-package.mjs.
   */
  async #offerAddon(): Promise<Record<string, string>> {
    const directory = path.join(ROOT, 'node_modules/zstd-napi')
    const { version, binary } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8')) as {
      version: string
      binary: { napi_versions: number[] }
    }
    const name = `zstd-napi-v${version}-napi-v${Math.max(...binary.napi_versions)}-linux-${process.arch}.tar.gz`
    const script = `mkdir /addon; tar -czf /addon/${name} -C '${directory}' build/Release/binding.node`
    await this.#host.must(script, { user: 'root' })
    return { npm_config_zstd_napi_local_prebuilds: '/addon' }
  }

  /** Compiles the program against the installed package, strictly, and runs it where the AWS SDK finds the store. */
  async #runProgram(text: string, place: string): Promise<void> {
    const directory = '/var/lib/postgresql/program'
    const options = `--module nodenext --target es2023 --strict --types node --typeRoots '${ROOT}node_modules/@types'`
    await this.#host.must(
      `install -d -o postgres ${directory} ${directory}/node_modules && cd ${directory}
      ln -s "$(npm root --global)/pgsluice" node_modules/pgsluice
      echo '{"type":"module"}' > package.json
      cat > program.ts <<'end of block'\n${text}end of block
      node '${ROOT}node_modules/typescript/bin/tsc' ${options} program.ts`,
      { user: 'root' },
    )
    const env = { AWS_ENDPOINT_URL_S3: this.#values.endpoint, AWS_REGION: 'eu-central-1' }
    const printed = await this.#host.must(`node ${directory}/program.js`, { user: 'postgres', env })
    assert.match(printed, /^\d{8}T\d{6}Z-[0-9a-f]{8} \d+$/m, place)
  }

  /** What the markers of the pages say. */
  async #scene(marker: string): Promise<void> {
    const host = this.#host
    const { major } = this.#values
    const scenes: Record<string, () => Promise<void>> = {
      'as root': () => {
        this.#user = 'root'
        return Promise.resolve()
      },
      'as postgres': async () => {
        this.#user = 'postgres'
        const found = await host.must('command -v pgsluice-wal node', { user: 'postgres' })
        const [front = '', node = ''] = found.trim().split('\n')
        Object.assign(this.#values, { front, node })
      },
      'there are credentials': async () => {
        const credentials = '[default]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = EXAMPLE\n'
        const script = `install -d -m 700 ~/.aws; cat > ~/.aws/credentials <<'end'\n${credentials}end\n`
        await host.must(script, { user: 'postgres' })
      },
      'the server is restarted': async () => {
        await host.must(`pg_ctlcluster ${major} main restart`, { user: 'postgres' })
      },
      'something is archived after the backup': async () => {
        await this.#addRows()
        // a transaction after the instant shows that it can be reached
        this.#values.instant = (
          await this.#query("select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'")
        ).trim()
        await this.#addRows()
      },
      'rows before the backup': () => this.#addRows(),
      'rows after the backup': () => this.#addRows(),
      'the host is new': async () => {
        await host.must(`pg_ctlcluster ${major} main stop -m immediate`, { user: 'root' })
        await host.must('rm -r /etc/postgresql/*/main /var/lib/postgresql/*/* /etc/pgsluice ~postgres/.aws', {
          user: 'root',
        })
        await host.makeCluster()
        for (const { script, user } of this.#configuration) await host.must(script, { user })
      },
      'all rows are there': async () => {
        assert.equal(Number(await this.#query('select count(*) from kept')), this.#rows)
        assert.equal((await this.#query('show archive_mode')).trim(), 'on')
        // so that the next loss finds them in the archive, on the timeline that this recovery began
        await this.#addRows()
      },
    }
    const scene = scenes[marker]
    assert.ok(scene !== undefined, `${this.#page}: the marker "${marker}" says nothing to this test`)
    await scene()
  }

  /** Commits some, and waits until all WAL with them is archived. */
  async #addRows(): Promise<void> {
    await this.#query('create table if not exists kept (row int)')
    await this.#query('insert into kept select generate_series(1, 100)')
    this.#rows += 100
    const segment = (await this.#query('select pg_walfile_name(pg_switch_wal())')).trim()
    await waitUntil(`"${segment}" to be archived`, async () => {
      const last = (await this.#query('select last_archived_wal from pg_stat_archiver')).trim()
      return /^[0-9A-F]{24}$/.test(last) && last >= segment
    })
  }

  #query(sql: string): Promise<string> {
    return this.#host.must(`psql -qAtc "${sql}"`, { user: 'postgres' })
  }

  async #serverLog(): Promise<string> {
    const log = `/var/log/postgresql/postgresql-${this.#values.major}-main.log`
    return (await this.#host.run(`tail -n 20 ${log}`, { user: 'root' })).stdout
  }
}
