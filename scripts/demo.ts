/**
 * The demo: a server under load is backed up, goes on, is destroyed, and comes back from the bucket with every commit
 * that the archive had. Run by `npm run demo`; needs nothing but Node.js and what `npm ci` installed.
 *
 * Nothing is acted: a real PostgreSQL, the real command line as child processes, the real archive_command. Whatever
 * happens, no process and no directory stays.
 */
import { rmSync } from 'node:fs'
import path from 'node:path'
import colors from 'picocolors'
import { reasonOf } from '#src/errors.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { newHome, removeHome } from '../test/support/cluster-registry.js'
import { checkIntegrity } from '../test/support/integrity.js'
import { startLedger, verifyLedger, type Acknowledged, type Ledger } from '../test/support/ledger.js'
import { query, startCluster, type Cluster } from '../test/support/postgres.js'
import { giveToServerUser } from '../test/support/server-user.js'
import { waitUntil } from '../test/support/wait.js'
import { openBucket, type DemoBucket } from './demo/bucket.js'
import { CommandLine, FRONT, whyUnreachable } from './demo/command-line.js'
import { killLeftovers } from './demo/leftovers.js'
import { count, mebibytes, Narrator, seconds } from './demo/narrator.js'

const MAJOR = 18
const WRITERS = 4
/** About 1 kB each, so that the archive of this table is far above what one request carries. */
const CARGO_ROWS = 220_000

const CARGO = `
  create table cargo as
  select i as id, (select string_agg(md5(i::text || j::text), '') from generate_series(1, 30) j) as content
  from generate_series(1, ${CARGO_ROWS}) i;
  create index on cargo (id)`

/** What is there to be tidied, as soon as it is there. */
class Demo {
  readonly #narrator = new Narrator()
  readonly #home = newHome()
  #bucket: DemoBucket | undefined
  #commandLine: CommandLine | undefined
  #ledger: Ledger | undefined
  readonly #clusters = new Set<Promise<Cluster>>()

  async run(): Promise<void> {
    const narrator = this.#narrator
    const bucket = (this.#bucket = await openBucket(this.#home))
    narrator.say(colors.dim(`repository: ${bucket.url}, in ${bucket.description}`))
    const source = await narrator.step(`Start PostgreSQL ${MAJOR} that archives its WAL, and fill it`, () =>
      this.#startSource(bucket),
    )
    const writing = `${WRITERS} clients write from now on until the server is destroyed`
    const ledger = (this.#ledger = await narrator.step(writing, async () => {
      const started = await startLedger(source, { clients: WRITERS })
      await started.advance(200)
      return started
    }))
    const commandLine = await this.#openCommandLine(bucket, source)
    await narrator.step('Is everything ready?', () => commandLine.run('check'))
    const backup = await this.#backUp(commandLine, ledger)
    await narrator.step('What is in the repository?', () => commandLine.run('list'))
    const proof = await this.#goOn(source, ledger)
    const lost = await this.#destroy(source, bucket, ledger)
    const restored = await this.#restore(commandLine, bucket)
    const findings = await this.#prove(restored.cluster, proof, lost)
    await this.#conclude(bucket, { backup, proof, lost, restored, findings })
  }

  async #startSource(bucket: DemoBucket): Promise<Cluster> {
    const words = [FRONT, '--node', process.execPath, 'push'].map(quoteShell)
    const archiveCommand = `${words.join(' ')} "%p" --repository ${quoteShell(bucket.url)}`
    this.#narrator.say(`archive_command = ${colors.yellow(archiveCommand)}`)
    const cluster = await this.#track(
      startCluster({
        major: MAJOR,
        // A system identifier that no other cluster in that bucket has.
        ownInitdb: true,
        env: { PGSLUICE_CONFIG: '/dev/null', ...bucket.environment },
        settings: {
          archive_mode: 'on',
          archive_command: archiveCommand,
          archive_timeout: '60s',
          cluster_name: 'demo',
          shared_buffers: '64MB',
          max_wal_size: '2GB',
        },
      }),
    )
    await query(cluster, CARGO)
    const [row] = await query<{ bytes: string }>(cluster, 'select sum(pg_database_size(oid)) as bytes from pg_database')
    this.#narrator.say(`${mebibytes(Number(row?.bytes))} in ${cluster.pgdata}`)
    return cluster
  }

  async #openCommandLine(bucket: DemoBucket, source: Cluster): Promise<CommandLine> {
    await giveToServerUser(this.#home)
    const environment = { ...bucket.environment, ...source.env, PGSLUICE_REPOSITORY: bucket.url }
    return (this.#commandLine = new CommandLine(this.#narrator, environment, this.#home))
  }

  async #backUp(commandLine: CommandLine, ledger: Ledger): Promise<{ milliseconds: number }> {
    return this.#narrator.step('Back it up while it is written to', async () => {
      const before = ledger.acknowledged()
      const began = performance.now()
      await commandLine.run('backup', '--label', 'demo')
      const milliseconds = performance.now() - began
      this.#narrator.say(`${count(ledger.acknowledged() - before)} commits were acknowledged meanwhile`)
      return { milliseconds }
    })
  }

  /** Writes on, then waits until the archive has everything up to a moment; returns what was acknowledged by then. */
  async #goOn(source: Cluster, ledger: Ledger): Promise<Acknowledged[]> {
    return this.#narrator.step('Go on writing: these commits are in no backup, only in the WAL archive', async () => {
      await ledger.advance(8000)
      const acknowledged = ledger.snapshot()
      // What was acknowledged before the switch lies before it in the WAL.
      this.#narrator.command('select pg_walfile_name(pg_switch_wal())')
      const [row] = await query<{ segment: string }>(
        source,
        `select pg_walfile_name(pg_switch_wal() - 1) as segment, pg_stat_clear_snapshot()`,
      )
      const segment = row?.segment ?? ''
      await waitUntil(`"${segment}" to be archived`, async () => {
        const [status] = await query<{ done: boolean }>(
          source,
          `select coalesce(last_archived_wal >= $1, false) as done from pg_stat_archiver`,
          [segment],
        )
        return status?.done
      })
      this.#narrator.say(`WAL is in the bucket up to ${segment}: with it ${count(acknowledged.length)} commits`)
      return acknowledged
    })
  }

  /** Returns how many commits were acknowledged after that moment. */
  async #destroy(source: Cluster, bucket: DemoBucket, ledger: Ledger): Promise<Acknowledged[]> {
    return this.#narrator.step('Destroy the server while it is written to', async () => {
      this.#narrator.command(`kill -9 ${source.pid ?? ''} and its ${colors.dim('backends')}`)
      await source.crash()
      await killLeftovers(bucket.url)
      this.#narrator.command(`rm -rf ${source.pgdata}`)
      rmSync(source.pgdata, { recursive: true, force: true })
      return ledger.stop()
    })
  }

  async #restore(
    commandLine: CommandLine,
    bucket: DemoBucket,
  ): Promise<{ cluster: Cluster; copied: number; recovered: number }> {
    const directory = path.join(this.#home, 'restored')
    const copied = await this.#narrator.step('Restore the newest backup into a new directory', async () => {
      const began = performance.now()
      await commandLine.run('restore', 'latest', '--target-dir', directory)
      return performance.now() - began
    })
    return this.#narrator.step('Start it: PostgreSQL fetches WAL from the bucket and replays it', async () => {
      const began = performance.now()
      const cluster = await this.#track(
        startCluster({ major: MAJOR, directory, env: { PGSLUICE_CONFIG: '/dev/null', ...bucket.environment } }),
      )
      await waitUntil('the end of recovery', async () => {
        const [row] = await query<{ over: boolean }>(cluster, 'select not pg_is_in_recovery() as over')
        return row?.over
      })
      const recovered = performance.now() - began
      for (const line of cluster.logText().split('\n').filter(isTelling)) this.#narrator.output(withoutTime(line))
      return { cluster, copied, recovered }
    })
  }

  async #prove(
    cluster: Cluster,
    proof: readonly Acknowledged[],
    all: readonly Acknowledged[],
  ): Promise<{ entries: number; relations: number }> {
    return this.#narrator.step('Compare with what the clients were told', async () => {
      const { entries } = await verifyLedger(cluster, proof, { extra: 'any' })
      this.#narrator.say(`all ${count(proof.length)} commits that the archive had are there, whole and in order`)
      const after = all.length - proof.length
      const found = Math.max(entries - proof.length, 0)
      this.#narrator.say(
        `of the ${count(after)} after them ${count(Math.min(found, after))} had reached the archive, too; ` +
          `the rest died with the disk, in WAL that was not archived yet`,
      )
      const [row] = await query<{ n: number }>(cluster, 'select count(*)::int as n from cargo')
      if (row?.n !== CARGO_ROWS) throw new Error(`the table "cargo" has ${row?.n ?? 0} rows instead of ${CARGO_ROWS}`)
      const { heaps, indexes } = await checkIntegrity(cluster)
      this.#narrator.say(`amcheck and pg_visibility find nothing wrong in ${heaps} tables and ${indexes} indexes`)
      return { entries, relations: heaps + indexes }
    })
  }

  async #conclude(
    bucket: DemoBucket,
    told: {
      backup: { milliseconds: number }
      proof: readonly Acknowledged[]
      lost: readonly Acknowledged[]
      restored: { copied: number; recovered: number }
      findings: { entries: number }
    },
  ): Promise<void> {
    const { objects, bytes } = await bucket.contents()
    const parts = bucket.partsReceived()
    this.#narrator.summary('Nothing that the archive had was lost.', [
      ['commits acknowledged', count(told.lost.length)],
      ['of them in the archive for certain', count(told.proof.length)],
      ['found after the restore', count(told.findings.entries)],
      ['backup', seconds(told.backup.milliseconds)],
      ['restore', `${seconds(told.restored.copied)}, and ${seconds(told.restored.recovered)} of recovery`],
      ['in the bucket', `${mebibytes(bytes)} in ${count(objects)} objects`],
      ...(parts === undefined ? [] : [['parts of multipart uploads', count(parts)] as const]),
    ])
  }

  /** Ends what runs and removes what lies around; may be called at any time, and the story is over then. */
  async tidy(): Promise<void> {
    this.#narrator.fallSilent()
    await this.#commandLine?.interrupt()
    for (const starting of this.#clusters) await starting.then((cluster) => cluster.destroy()).catch(() => undefined)
    await this.#ledger?.stop()
    if (this.#bucket !== undefined) {
      await killLeftovers(this.#bucket.url)
      const left = await this.#bucket.remove()
      if (left !== undefined) process.stderr.write(`demo: ${left}\n`)
    }
    removeHome(this.#home)
  }

  #track(starting: Promise<Cluster>): Promise<Cluster> {
    this.#clusters.add(starting)
    return starting
  }
}

function isTelling(line: string): boolean {
  return /starting backup recovery|completed backup recovery|consistent recovery state|redo done at|archive recovery complete/.test(
    line,
  )
}

function withoutTime(line: string): string {
  return line.replace(/^.*?(LOG|FATAL|ERROR|WARNING): +/, '')
}

async function main(): Promise<number> {
  const obstacle = await whyUnreachable()
  if (obstacle !== undefined) {
    process.stderr.write(`demo: ${obstacle}\n`)
    return 2
  }
  const interrupted = nextSignal()
  const demo = new Demo()
  const ended = demo.run().then(
    () => ({ code: 0, error: undefined }),
    (error: unknown) => ({ code: 1, error }),
  )
  const { code, error } = await Promise.race([ended, interrupted])
  await demo.tidy()
  if (error !== undefined) process.stderr.write(`${colors.red('demo failed')}: ${reasonOf(error)}\n`)
  return code
}

/** Resolves when the process is told to end; when it is told again it ends at once. */
function nextSignal(): Promise<{ code: number; error: undefined }> {
  return new Promise((resolve) => {
    for (const [name, code] of [
      ['SIGHUP', 129],
      ['SIGINT', 130],
      ['SIGTERM', 143],
    ] as const) {
      process.once(name, () => {
        process.stderr.write(`\ndemo: interrupted by ${name}, tidying up\n`)
        process.on(name, () => process.exit(code))
        resolve({ code, error: undefined })
      })
    }
  })
}

// A failure until the end: a promise that gets lost must not look like success.
process.exitCode = 1
process.exit(
  await main().catch((error: unknown) => {
    process.stderr.write(`demo: ${reasonOf(error)}\n`)
    return 1
  }),
)
