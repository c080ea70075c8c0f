/**
 * Memory is bounded by what --memory says, not by the size of the cluster (F17, O8): the most that a backup and a restore of
 * 1.5 GB, and of many small files, ever had resident; and what a push and a fetch had, which know no --memory.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import {
  BUCKET,
  openWorkplace,
  pgsluice,
  repositoryAt,
  startArchivingCluster,
  type Reachable,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, withClient, type Cluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

const MiB = 1024 * 1024
const HOOK = fileURLToPath(new URL('../support/peak-memory-hook.js', import.meta.url))
const ENDPOINT = fileURLToPath(new URL('../support/s3-endpoint-process.js', import.meta.url))
/** Arguments, and the most that may be resident. */
const BOUNDS: readonly (readonly [string, string[], number])[] = [
  ['by default', [], 250 * MiB],
  ['with --memory 128MiB', ['--memory', '128MiB'], 180 * MiB],
]
/** What there is most of in the second shape of a cluster. */
const MANY = 40_000
/** The most that a push and a fetch may have resident, which run beside the server all the time: 129 and 89 MiB were seen. */
const WAL_BOUND = 150 * MiB

const skip =
  process.platform === 'linux' ? false : 'this machine cannot say how much memory was ever resident: it has no /proc'

describe('peak memory', { skip }, () => {
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let endpoint: ChildProcess
  let repository: Reachable
  let cluster: Cluster

  before(async () => {
    workplace = await openWorkplace()
    endpoint = spawn(process.execPath, [ENDPOINT, workplace.at('bucket'), BUCKET], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const [url] = (await once(createInterface({ input: endpoint.stdout! }), 'line')) as [string]
    repository = repositoryAt(url)
    cluster = await fill(repository)
  })
  after(async () => {
    const ended = once(endpoint, 'exit')
    endpoint.stdin!.end()
    await ended
    // Last: there is none where it could not be filled, and what was started before must not be left running for that.
    await cluster.destroy()
    workplace[Symbol.dispose]()
  })

  /** Runs a command to its success; returns the most bytes that were resident. */
  async function measure(
    args: string[],
    options: { cwd?: string; env?: NodeJS.ProcessEnv; cluster?: Cluster; repository?: Reachable } = {},
  ): Promise<number> {
    const file = workplace.at('peak')
    writeFileSync(file, '')
    await giveToServerUser(file)
    const env = { ...options.env, NODE_OPTIONS: `--import=${pathToFileURL(HOOK).href}`, PEAK_MEMORY_FILE: file }
    const { repository: to = repository, ...rest } = options
    const { exitCode, stderr } = await pgsluice(args, to, { cluster, ...rest, env })
    assert.equal(exitCode, 0, stderr)
    const peak = Number(readFileSync(file, 'utf8')) * 1024
    assert.ok(peak > 30 * MiB, 'the hook ran')
    return peak
  }

  for (const [what, args, bound] of BOUNDS) {
    it(`of a backup and a restore of 1.5 GB stays below ${bound / MiB} MiB ${what} (O8)`, async (t) => {
      const backup = await measure(['backup', '--quiet', ...args])
      const target = workplace.at('restored')
      // the server goes on writing and archiving, of which a restore to the end of the archive may have to wait for some
      const restore = await measure(['restore', '--quiet', '--target', 'immediate', '--target-dir', target, ...args])
      rmSync(target, { recursive: true })
      const said = `backup ${Math.round(backup / MiB)} MiB, restore ${Math.round(restore / MiB)} MiB`
      t.diagnostic(said)
      assert.ok(backup <= bound && restore <= bound, said)
    })
  }

  it(`of a backup and a restore of ${MANY} small files stays below 250 MiB by default (O8)`, async (t) => {
    // the template's system identifier is that of the other cluster, so this one has a repository of its own
    const url = `${repository.url}/many`
    const other: Reachable = { url, env: { ...repository.env, PGSLUICE_REPOSITORY: url } }
    const many = await startArchivingCluster(other, { major: availableMajors().at(-1)! })
    try {
      const planted = await plantFiles(path.join(many.pgdata, 'many'))
      const backup = await measure(['backup', '--quiet'], { cluster: many, repository: other })
      const target = workplace.at('many')
      const restore = await measure(['restore', '--quiet', '--target-dir', target], {
        cluster: many,
        repository: other,
      })
      const restored = readdirSync(path.join(target, 'many'), { recursive: true, encoding: 'utf8' })
      assert.equal(restored.length, planted)
      rmSync(target, { recursive: true })
      const said = `backup ${Math.round(backup / MiB)} MiB, restore ${Math.round(restore / MiB)} MiB`
      t.diagnostic(said)
      assert.ok(backup <= 250 * MiB && restore <= 250 * MiB, said)
    } finally {
      await many.destroy()
    }
  })

  it('of a push with others ahead, and of a fetch, stays below 150 MiB', async (t) => {
    await query(cluster, `alter system set archive_command = ''`)
    await query(cluster, 'select pg_reload_conf()')
    // 16 MiB each, of what does not compress: all that is read, compressed and sent is as large as it can be
    await query(cluster, 'create table more_noise as select n, bytes from generate_series(1, 6) n, seed')
    await query(cluster, 'select pg_switch_wal()')
    const status = `${cluster.pgdata}/pg_wal/archive_status`
    const segments = readdirSync(status).flatMap((name) => /^([0-9A-F]{24})\.ready$/.exec(name)?.slice(1) ?? [])
    const [first, ...others] = segments.sort()
    assert.ok(first !== undefined && others.length >= 5)
    const options = { cwd: cluster.pgdata, env: { PGSLUICE_FRONT: 'this test' } }
    const push = await measure(['wal', 'push', `pg_wal/${first}`], options)
    const noted = new Set(readdirSync(`${cluster.pgdata}/pg_wal/pgsluice/archived`))
    // not all of them on a slow machine: a run ends when the server has waited long enough
    assert.ok(noted.has(first) && others.filter((name) => noted.has(name)).length >= 2)
    const fetch = await measure(['wal', 'fetch', first, workplace.at('fetched')], { cwd: cluster.pgdata })
    const said = `push ${Math.round(push / MiB)} MiB, fetch ${Math.round(fetch / MiB)} MiB`
    t.diagnostic(said)
    assert.ok(push <= WAL_BOUND && fetch <= WAL_BOUND, said)
  })
})

/** Makes {@link MANY} files of 0 to 4 KiB in a thousand directories, which no server looks into; returns how many things. */
async function plantFiles(root: string): Promise<number> {
  const noise = randomBytes(4096)
  const directories = 1000
  for (let n = 0; n < MANY; n++) {
    const parent = path.join(root, String(n % directories))
    if (n < directories) mkdirSync(parent, { recursive: true, mode: 0o700 })
    // a multiplier without a common factor spreads the sizes
    writeFileSync(path.join(parent, String(n)), noise.subarray(0, (n * 2_654_435) % 4097), { mode: 0o600 })
  }
  await giveToServerUser(root)
  return MANY + directories
}

/** A cluster of 1.5 GB, two thirds of it incompressible; made without WAL, which would be archived for a minute. */
async function fill(repository: Reachable): Promise<Cluster> {
  const archiving = await startArchivingCluster(repository, { major: availableMajors().at(-1)!, start: false })
  try {
    await archiving.start({ settings: { wal_level: 'minimal', max_wal_senders: 0, archive_mode: 'off' } })
    await withClient(archiving, async (client) => {
      await client.query(`set work_mem = '256MB'`)
      await client.query('begin')
      await client.query(
        // The copies lie further apart than the window of any level that we use: to zstd they are all new.
        `create table seed as select string_agg(uuid_send(gen_random_uuid()), ''::bytea) as bytes
           from generate_series(1, 1200000) i group by i % 10000`,
      )
      await client.query('create table noise as select n, bytes from generate_series(1, 50) n, seed')
      await client.query('create table word_list as select i, md5(i::text) as word from generate_series(1, 600000) i')
      await client.query(
        'create table words as select n * 600000 + i as i, word, now() as at from generate_series(0, 9) n, word_list',
      )
      await client.query('commit')
    })
    const [size] = await query<{ bytes: string }>(
      archiving,
      'select sum(pg_database_size(oid))::text as bytes from pg_database',
    )
    assert.ok(Number(size!.bytes) > 1.4e9, `${size!.bytes} bytes`)
    await archiving.stop()
    await archiving.start()
    return archiving
  } catch (error) {
    await archiving.destroy()
    throw error
  }
}
