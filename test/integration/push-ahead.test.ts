/**
 * Pushing ahead (A9, A10): one run stores what else is ready, and the next calls are answered without Node.js; but only of
 * the very file that was stored, in the very repository that is meant.
 */
import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { hashFile, parseWalObjectHead } from '#src/repository/wal-object.js'
import {
  awaitAllArchived,
  BUCKET,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query } from '../support/postgres.js'
import { childrenOf } from '../support/processes.js'
import { giveToServerUser, type ProgramResult } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'
import { makeWalFiles, runFront, walKeyOf, type WalFiles } from '../support/wal-files.js'

const MAJOR = availableMajors().at(-1)!

describe('push ahead', () => {
  let files: WalFiles
  let workplace: Awaited<ReturnType<typeof openWorkplace>>

  before(async () => {
    workplace = await openWorkplace()
    files = await makeWalFiles(MAJOR)
  })
  after(async () => {
    await files[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  const note = (name: string): string => path.join(files.cluster.pgdata, 'pg_wal/pgsluice/archived', name)
  const notes = (): string[] => readdirSync(path.dirname(note('x'))).sort()
  /** Files that the server would ask for. */
  const ready = (): string[] =>
    readdirSync(files.path('archive_status'))
      .filter((name) => name.endsWith('.ready'))
      .map((name) => name.slice(0, -'.ready'.length))
      .sort()
  const forget = (): void => rmSync(files.path('pgsluice'), { recursive: true, force: true })

  interface Call {
    args?: string
    env?: NodeJS.ProcessEnv
    cwd?: string
  }

  /** As the archiver calls it; `asked` tells whether anything went to the store. */
  async function push(
    repository: EndpointRepository,
    name: string,
    { args = '', env = {}, cwd = files.cluster.pgdata }: Call = {},
  ): Promise<ProgramResult & { asked: boolean }> {
    repository.endpoint.requests.length = 0
    const result = await runFront(`push "pg_wal/${name}" ${args}`, repository, { cwd, env })
    return { ...result, asked: repository.endpoint.requests.length > 0 }
  }

  it('stores what else is ready in the same run, and answers for it without Node.js (A10)', async () => {
    await using repository = await openEndpointRepository()
    forget()
    const [first, ...others] = ready()
    assert.ok(others.length >= 4)
    const run = await push(repository, first!)
    assert.deepEqual([run.exitCode, run.stderr], [0, ''])
    for (const name of ready()) {
      const object = await repository.get(walKeyOf(files, name))
      assert.deepEqual(parseWalObjectHead(object, name), { name, ...hashFile(files.path(name)) })
    }
    assert.deepEqual(notes(), ready())
    for (const name of ready()) {
      const again = await push(repository, name)
      assert.deepEqual([again.exitCode, again.stdout, again.stderr, again.asked], [0, '', '', false], name)
    }
    assert.equal(statSync(path.dirname(note('x'))).mode & 0o777, 0o700)
  })

  it('stores no more than it is told, and nothing with 0', async () => {
    for (const [most, expected] of [
      [0, 1],
      [2, 3],
    ]) {
      await using repository = await openEndpointRepository()
      forget()
      assert.equal((await push(repository, ready()[0]!, { args: `--push-ahead ${most}` })).exitCode, 0)
      assert.equal((await repository.keys()).filter((key) => key.includes('/wal/')).length, expected)
    }
  })

  it('forgets notes of files that the server no longer asks for, and what killed runs left', async () => {
    await using repository = await openEndpointRepository()
    forget()
    assert.equal((await push(repository, ready()[0]!)).exitCode, 0)
    for (const name of ['000000010000000000000000', '.x.tmp']) writeFileSync(note(name), 'old')
    rmSync(note(ready()[0]!))
    assert.equal((await push(repository, ready()[0]!)).exitCode, 0)
    assert.deepEqual(notes(), ready())
  })

  interface Stale {
    name: string
    /** May return how the server calls from now on. */
    sabotage: (segment: string) => unknown
    /** The repository that is meant now. */
    prefix?: string
  }
  const stale: Stale[] = [
    {
      name: 'another repository is named',
      sabotage: () => ({ args: `--repository s3://${BUCKET}/other` }),
      prefix: 'other',
    },
    {
      name: 'the environment names another repository',
      sabotage: () => ({ env: { PGSLUICE_REPOSITORY: `s3://${BUCKET}/another` } }),
      prefix: 'another',
    },
    {
      name: 'a configuration file appears',
      sabotage: () => {
        const file = workplace.at('appears.yaml')
        writeFileSync(file, 'jobs: 1\n')
        return { env: { PGSLUICE_CONFIG: file } }
      },
    },
    {
      name: 'the endpoint is another',
      sabotage: () => ({ env: { AWS_ENDPOINT_URL_S3: process.env['NOWHERE'] ?? '' } }),
    },
    {
      name: 'the file was replaced',
      sabotage: (segment) => {
        const { atime, mtime } = statSync(files.path(segment))
        cpSync(files.path(segment), files.path('copy'))
        utimesSync(files.path('copy'), atime, mtime)
        renameSync(files.path('copy'), files.path(segment))
      },
    },
    {
      name: 'the file was written to since',
      sabotage: (segment) => utimesSync(files.path(segment), new Date(), new Date(Date.now() + 2000)),
    },
    {
      name: 'the file got another time, in the past',
      sabotage: (segment) => utimesSync(files.path(segment), 0, new Date('2020-01-01')),
    },
    { name: 'the note is empty', sabotage: (segment) => writeFileSync(note(segment), '') },
    {
      name: 'the note is cut off',
      sabotage: (segment) => writeFileSync(note(segment), readFileSync(note(segment), 'utf8').slice(0, -10)),
    },
    { name: 'the note is of another file', sabotage: (segment) => cpSync(note(files.segments[2]), note(segment)) },
    { name: 'the note is garbage', sabotage: (segment) => writeFileSync(note(segment), '\0\n\xff\n') },
    {
      name: 'the note is a directory',
      sabotage: (segment) => {
        rmSync(note(segment))
        mkdirSync(note(segment))
      },
    },
    {
      name: 'the data directory is a copy of the one that was noted',
      sabotage: () => {
        const copy = workplace.at('copied')
        cpSync(files.cluster.pgdata, copy, { recursive: true, preserveTimestamps: true })
        return { cwd: copy }
      },
    },
  ]
  for (const { name, sabotage, prefix } of stale) {
    it(`does not take a note for an answer when ${name} (A10)`, async () => {
      await using repository = await openEndpointRepository()
      forget()
      const segment = files.segments[1]
      utimesSync(files.path(segment), 0, new Date('2026-01-01'))
      assert.equal((await push(repository, ready()[0]!)).exitCode, 0)
      assert.equal((await push(repository, segment)).asked, false)
      // gone, so that only a real push brings it back
      repository.delete(walKeyOf(files, segment))
      const call = (sabotage(segment) ?? {}) as Call
      if (call.env?.['AWS_ENDPOINT_URL_S3'] === '') call.env['AWS_ENDPOINT_URL_S3'] = `${repository.endpoint.url}/`
      if (call.cwd !== undefined) await giveToServerUser(call.cwd)
      await giveToServerUser(files.path(''))
      const { exitCode, stderr, asked } = await push(repository, segment, call)
      assert.equal(exitCode, 0, stderr)
      assert.ok(asked)
      const stored = repository.endpoint.keys(BUCKET).filter((key) => key.endsWith(`/${segment}.zst`))
      assert.ok(
        stored.some((key) => prefix === undefined || key.startsWith(`${prefix}/`)),
        stored.join(),
      )
    })
  }

  it('takes a failure ahead for a warning, notes nothing of it, and acknowledges what was asked for', async () => {
    await using repository = await openEndpointRepository()
    forget()
    const [first, , third] = ready()
    repository.endpoint.fault({
      match: ({ method, key }) => method === 'PUT' && key.endsWith(`/${third!}.zst`),
      action: { status: 403, code: 'AccessDenied' },
    })
    const { exitCode, stderr } = await push(repository, first!)
    assert.equal(exitCode, 0)
    assert.match(stderr, new RegExp(`WARNING: could not store "${third!}" ahead: `))
    assert.ok(existsSync(note(first!)))
    assert.ok(!existsSync(note(third!)))
    // the hole that this left is told from the end of the archive, once something is behind it (G2)
    const last = ready()
      .filter((name) => /^[0-9A-F]{24}$/.test(name))
      .at(-1)!
    assert.equal((await push(repository, last, { args: '--push-ahead 0' })).exitCode, 0)
    const args = ['wal', 'fetch', third!, workplace.at('fetched'), '--pgdata', files.cluster.pgdata]
    const fetched = await pgsluice(args, repository, { env: { PGSLUICE_RETRY_TIME: '1s' } })
    assert.equal(fetched.exitCode, 200)
    assert.match(fetched.stderr, /is missing from the archive, and ".*" is there/)
  })

  it('fails when the file that was asked for fails, whatever else is stored', async () => {
    await using repository = await openEndpointRepository()
    forget()
    const [first] = ready()
    repository.endpoint.fault({
      match: ({ method, key }) => method === 'PUT' && key.endsWith(`/${first!}.zst`),
      action: { status: 403, code: 'AccessDenied' },
    })
    assert.equal((await push(repository, first!)).exitCode, 3)
    assert.ok(!existsSync(note(first!)))
  })

  it('leaves no note of what was in work when it is killed', async () => {
    await using repository = await openEndpointRepository()
    forget()
    const [first, second] = ready()
    repository.endpoint.fault({
      match: ({ method, key }) => method === 'PUT' && key.endsWith(`/${second!}.zst`),
      action: 'stall',
    })
    const run = push(repository, first!)
    await waitUntil('all but the one that stalls to be noted', () => {
      return existsSync(path.dirname(note('x'))) && notes().length === ready().length - 1
    })
    const [shell] = childrenOf(process.pid).filter((pid) => childrenOf(pid).length > 0)
    assert.ok(shell !== undefined)
    for (const child of descendants(shell)) if (childrenOf(child).length === 0) process.kill(child, 'SIGKILL')
    assert.equal((await run).exitCode, 3)
    assert.ok(!notes().includes(second!))
    repository.endpoint.clearFaults()
    assert.deepEqual(await push(repository, second!).then(({ exitCode, asked }) => [exitCode, asked]), [0, true])
  })
})

describe('a server whose archive was out of reach', () => {
  it('has everything archived once, with the right content, in few runs', async () => {
    await using repository = await openEndpointRepository()
    // what was archived stays to be compared with
    const settings = { wal_keep_size: '1GB' }
    await using cluster = await startArchivingCluster(repository, { major: MAJOR, walSegmentSizeMb: 1, settings })
    repository.endpoint.fault({
      match: ({ bucket }) => bucket === BUCKET,
      action: { status: 403, code: 'AccessDenied' },
    })
    for (let n = 0; n < 30; n++) {
      await query(cluster, `create table t${n} as select md5(i::text) from generate_series(1, 1000) i`)
      await query(cluster, 'select pg_switch_wal()')
    }
    const status = path.join(cluster.pgdata, 'pg_wal/archive_status')
    const waiting = readdirSync(status).filter((name) => name.endsWith('.ready')).length
    assert.ok(waiting >= 30)
    repository.endpoint.clearFaults()
    repository.endpoint.requests.length = 0
    // after three failures the archiver rests for a minute, unless a new segment wakes it
    await query(cluster, 'create table last as select 1 as i')
    await query(cluster, 'select pg_switch_wal()')
    await awaitAllArchived(cluster)
    const runs = repository.endpoint.requests.filter(
      ({ method, key }) => method === 'GET' && key.endsWith('cluster.json'),
    )
    assert.ok(runs.length <= 4, `${runs.length} runs of Node.js for ${waiting} files`)
    const keys = (await repository.keys()).filter((key) => /[0-9A-F]{24}\.zst$/.test(key))
    assert.ok(keys.length >= waiting)
    for (const key of keys) {
      const name = path.basename(key, '.zst')
      const said = parseWalObjectHead(await repository.get(key), key)
      assert.deepEqual(said, { name, ...hashFile(path.join(cluster.pgdata, 'pg_wal', name)) })
    }
  })
})

function descendants(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendants(child)])
}
