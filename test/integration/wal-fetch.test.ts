/**
 * Fetching WAL files one by one. PostgreSQL takes "not there" for the end of WAL and may promote, so this is said only when
 * it is certain (G1, G2); and a file that is not exactly what was pushed is never put in its way (G3, G4).
 */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import type { CommandResult } from '../support/command-line.js'
import {
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  succeed,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { giveToServerUser } from '../support/server-user.js'
import { makeWalFiles, runFront, walKeyOf, type WalFiles } from '../support/wal-files.js'

const MAJOR = availableMajors().at(-1)!
/** No such segment: it would come after all that are archived. */
const NEXT = '0000000100000000000000F0'

describe('wal fetch', () => {
  let files: WalFiles
  let others: WalFiles
  let repository: EndpointRepository
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  /** Where files are fetched to; nothing else is ever in it. */
  let place: string
  /** What is in the repository before each test. */
  let objects: Map<string, Buffer>

  before(async () => {
    workplace = await openWorkplace()
    place = workplace.at('place')
    mkdirSync(place)
    await giveToServerUser(place)
    files = await makeWalFiles(MAJOR)
    others = await makeWalFiles(MAJOR, true)
    repository = await openEndpointRepository()
    for (const name of [...files.segments.slice(0, 3), files.history]) {
      await succeed(['wal', 'push', files.path(name)], repository)
    }
    await succeed(['wal', 'push', others.path(others.segments[0])], repository)
    objects = new Map()
    for (const key of await repository.keys()) objects.set(key, await repository.get(key))
  })
  afterEach(async () => {
    repository.endpoint.clearFaults()
    for (const key of await repository.keys()) if (!objects.has(key)) repository.delete(key)
    for (const [key, bytes] of objects) await repository.set(key, bytes)
    for (const name of readdirSync(place)) rmSync(path.join(place, name), { recursive: true })
  })
  after(async () => {
    await files[Symbol.asyncDispose]()
    await others[Symbol.asyncDispose]()
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  const fetch = (name: string, args: string[] = [], env: NodeJS.ProcessEnv = {}): Promise<CommandResult> =>
    pgsluice(
      ['wal', 'fetch', name, path.join(place, 'wanted'), '--cluster', files.name, '--max-attempts', '2', ...args],
      repository,
      { env },
    )

  it('puts segments and history files in place, byte for byte (G3, G4)', async () => {
    for (const name of [...files.segments.slice(0, 3), files.history]) {
      const { exitCode, stderr } = await fetch(name)
      assert.equal(exitCode, 0, stderr)
      assert.deepEqual(readdirSync(place), ['wanted'])
      assert.ok(readFileSync(path.join(place, 'wanted')).equals(readFileSync(files.path(name))))
    }
  })

  it('says 44 for what is definitely not there, and the front says 1 (G1, G2)', async () => {
    for (const name of [NEXT, '00000003.history', `${files.segments[2]}.partial`, files.backup]) {
      const { exitCode, stderr } = await fetch(name)
      assert.equal(exitCode, 44, stderr)
      assert.match(stderr, new RegExp(`"${name}" is not in the archive`))
      const line = `fetch ${name} "${place}/wanted" --cluster ${files.name}`
      assert.equal((await runFront(line, repository, { cwd: place })).exitCode, 1)
      assert.deepEqual(readdirSync(place), [])
    }
  })

  it('knows the cluster from the data directory that it runs in, as a server runs it (G5)', async () => {
    const line = (name: string): string => `fetch ${name} "${place}/wanted"`
    const options = { cwd: files.cluster.pgdata }
    const { exitCode, stderr } = await runFront(line(files.segments[0]), repository, options)
    assert.equal(exitCode, 0, stderr)
    assert.equal((await runFront(line(NEXT), repository, options)).exitCode, 1)
  })

  it('goes by the data directory that it runs in, whatever PGDATA says, and refuses another cluster (G5, A14)', async () => {
    const run = async (name: string, more = '', PGDATA = others.cluster.pgdata): Promise<[number, string]> => {
      const options = { cwd: files.cluster.pgdata, env: { PGDATA } }
      const { exitCode, stderr } = await runFront(`fetch ${name} "${place}/wanted" ${more}`, repository, options)
      return [exitCode, stderr]
    }
    assert.equal((await run(files.segments[0]))[0], 0)
    assert.equal((await run(files.segments[0], '', 'relative'))[0], 0)
    const [exitCode, stderr] = await run(NEXT, `--cluster ${others.name}`)
    assert.equal(exitCode, 200)
    assert.match(stderr, /is named, but ".*" has the system identifier/)
  })

  it('says of the history of timeline 1 that there is none, without asking the store (G6)', async () => {
    const { exitCode, stderr } = await fetch('00000001.history', ['--endpoint', 'http://127.0.0.1:1'])
    assert.equal(exitCode, 44, stderr)
  })

  const s3Error = (status: number, code: string, headers: Record<string, string> = {}): (() => void) => {
    return () => {
      repository.endpoint.fault({ match: ({ key }) => key.includes('/wal/'), action: { status, code, headers } })
    }
  }
  /** Everything that must never be taken for "not in the archive": what happens, and to which command it does. */
  const failures: readonly (readonly [
    string,
    Partial<{ name: () => string; do: () => unknown; args: string[]; env: NodeJS.ProcessEnv }>,
  ])[] = [
    [
      'there is a gap with a later segment behind it',
      { name: () => files.segments[1], do: () => repository.delete(walKeyOf(files, files.segments[1])) },
    ],
    [
      'the last segment is missing and a history says that its timeline went on',
      { name: () => files.segments[2], do: () => repository.delete(walKeyOf(files, files.segments[2])) },
    ],
    [
      'a history file is missing and its timeline has segments (G6)',
      {
        name: () => '00000003.history',
        do: () => repository.set(walKeyOf(files, '0000000300000000000000F1'), Buffer.from('something')),
      },
    ],
    ['the bucket is another one', { args: ['--repository', 's3://no-such-bucket/some/prefix'] }],
    ['the prefix is another one', { args: ['--repository', 's3://backups/other'] }],
    ['the cluster has no cluster.json', { do: () => repository.delete(`${files.name}/cluster.json`) }],
    ['the cluster is mistyped', { args: ['--cluster', 'pg18-7000000000000000001'] }],
    ['the cluster is ambiguous and no cluster is named', { args: ['--cluster', 'main'] }],
    ['nothing listens at the endpoint', { args: ['--endpoint', 'http://127.0.0.1:1'] }],
    ['the host of the endpoint is unknown', { args: ['--endpoint', 'http://no-such-host.invalid'] }],
    ['the credentials are missing', { env: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined } }],
    ['the store says 403', { do: s3Error(403, 'AccessDenied') }],
    ['the store says 404 without NoSuchKey', { do: s3Error(404, 'XAdminUserNotFound') }],
    ['the store says 404 NoSuchBucket', { do: s3Error(404, 'NoSuchBucket') }],
    ['there is a delete marker', { do: s3Error(404, 'NoSuchKey', { 'x-amz-delete-marker': 'true' }) }],
    ['the store says 500', { do: s3Error(500, 'InternalError') }],
    ['the store says 503', { do: s3Error(503, 'SlowDown') }],
    ['the connection is reset', { do: () => repository.endpoint.fault({ match: () => true, action: 'reset' }) }],
    [
      'the store does not answer',
      {
        do: () => repository.endpoint.fault({ match: () => true, action: 'stall' }),
        args: ['--request-timeout', '1s'],
      },
    ],
    [
      'listing is denied, so that a gap could not be seen',
      {
        do: () =>
          repository.endpoint.fault({
            match: ({ operation }) => operation === 'ListObjectsV2',
            action: { status: 403, code: 'AccessDenied' },
          }),
      },
    ],
    ['the name is none of WAL', { name: () => 'pg_control' }],
    ['an option is unknown', { args: ['--no-such-option'] }],
    ['a setting is wrong', { env: { PGSLUICE_MEMORY: 'much' } }],
    ['the configuration file is broken', { env: { PGSLUICE_CONFIG: '/no/such/file' } }],
  ]
  for (const [what, { name = () => NEXT, do: act, args, env }] of failures) {
    it(`says 200, not "not there", when ${what} (G1, G2)`, async () => {
      await act?.()
      const { exitCode, stderr } = await fetch(name(), args, env)
      assert.equal(exitCode, 200, stderr)
      assert.notEqual(stderr, '')
      assert.deepEqual(readdirSync(place), [])
    })
  }

  it('fails with 200 while no body comes, and works when it is cut once (G3, G4)', async () => {
    const [name] = files.segments
    const match = ({ operation, key }: { operation: string; key: string }): boolean =>
      operation === 'GetObject' && key.endsWith(`${name}.zst`)
    repository.endpoint.fault({ match, action: { cutBodyAfter: 0 } })
    assert.equal((await fetch(name)).exitCode, 200)
    assert.deepEqual(readdirSync(place), [])
    repository.endpoint.clearFaults()
    repository.endpoint.fault({ match, action: { cutBodyAfter: 1000 }, times: 1 })
    const { exitCode, stderr } = await fetch(name)
    assert.equal(exitCode, 0, stderr)
    assert.ok(readFileSync(path.join(place, 'wanted')).equals(readFileSync(files.path(name))))
  })

  const flip = (bytes: Buffer, at: number): Buffer => {
    const copy = Buffer.from(bytes)
    copy.writeUInt8(copy.readUInt8(at) ^ 0x01, at)
    return copy
  }
  const ours = (index: number): Buffer => objects.get(walKeyOf(files, files.segments[index]!))!
  /** Length of the skippable frame at the beginning of a WAL object. */
  const headOf = (object: Buffer): number => 8 + object.readUInt32LE(4)
  const corruptions: readonly (readonly [string, () => Buffer[]])[] = [
    ['a flipped bit in its head', () => [0, 4, 8, 12, 30, 60, 100].map((at) => flip(ours(0), at))],
    [
      'a flipped bit in what is compressed',
      // Not 5, the size of the window: what the frame holds does not depend on it.
      () =>
        [0, 4, 6, 9, 40, 2000]
          .map((at) => flip(ours(0), headOf(ours(0)) + at))
          .concat([2, 1].map((at) => flip(ours(0), ours(0).length - at))),
    ],
    [
      'an end that is missing',
      () =>
        [1, 4, 100, ours(0).length - headOf(ours(0)), ours(0).length - 10, ours(0).length].map((cut) =>
          ours(0).subarray(0, ours(0).length - cut),
        ),
    ],
    [
      'bytes behind its end',
      () => [Buffer.concat([ours(0), ours(1)]), Buffer.concat([ours(0), ours(0).subarray(headOf(ours(0)))])],
    ],
    [
      'the object of another segment',
      () => [ours(1), Buffer.concat([ours(0).subarray(0, headOf(ours(0))), ours(1).subarray(headOf(ours(1)))])],
    ],
    ["another cluster's object", () => [objects.get(walKeyOf(others, others.segments[0]))!]],
    [
      'something else in its place',
      () => [
        Buffer.alloc(ours(0).length),
        Buffer.from('not WAL'),
        Buffer.from('<Error><Code>NoSuchKey</Code></Error>'),
      ],
    ],
  ]
  for (const [what, make] of corruptions) {
    it(`never exposes an object with ${what}, and leaves no file behind (G3, G4)`, async () => {
      const [name] = files.segments
      for (const [index, bytes] of make().entries()) {
        await repository.set(walKeyOf(files, name), bytes)
        const { exitCode, stderr } = await fetch(name)
        assert.equal(exitCode, 200, `number ${index}: ${stderr}`)
        assert.match(stderr, /damaged|could not decompress/, `number ${index}`)
        assert.deepEqual(readdirSync(place), [])
      }
    })
  }

  it('fails with 200 where it cannot write, and does not touch what is there (G4)', async () => {
    const args = ['wal', 'fetch', files.segments[0], '--cluster', files.name]
    const to = (destination: string): string[] => [...args.slice(0, 3), destination, ...args.slice(3)]
    const { exitCode, stderr } = await pgsluice(to(path.join(place, 'no/such/directory')), repository)
    assert.equal(exitCode, 200)
    assert.match(stderr, /could not write ".*no\/such\/directory": ENOENT/)
    assert.doesNotMatch(stderr, /\n +at /)
    mkdirSync(path.join(place, 'wanted'))
    writeFileSync(path.join(place, 'wanted/inside'), 'kept')
    assert.equal((await fetch(files.segments[0])).exitCode, 200)
    assert.deepEqual(readdirSync(place, { recursive: true }), ['wanted', 'wanted/inside'])
  })

  it('through the front says 1 only for a definite absence, and where a standby would be shut down (G1, G1b)', async () => {
    const cwd = workplace.at('standby')
    mkdirSync(cwd)
    const line = (name: string, ...more: string[]): string =>
      [`fetch ${name} "${place}/wanted" --cluster ${files.name} --max-attempts 1`, ...more].join(' ')
    const failing: readonly [string, NodeJS.ProcessEnv?, string?][] = [
      [line(files.segments[0], '--endpoint http://127.0.0.1:1')],
      [line(NEXT, '--endpoint http://127.0.0.1:1')],
      [line(files.segments[0]), { NODE_OPTIONS: '--no-such-option' }],
      [line(files.segments[0]), {}, '/no/such/node'],
    ]
    const codes = async (): Promise<number[]> => {
      const found: number[] = []
      for (const [command, env = {}, node] of failing) {
        found.push((await runFront(command, repository, { cwd, env, ...(node !== undefined && { node }) })).exitCode)
      }
      return found
    }
    assert.deepEqual(await codes(), [200, 200, 200, 200])
    assert.equal((await runFront(line(NEXT), repository, { cwd })).exitCode, 1)
    writeFileSync(path.join(cwd, 'standby.signal'), '')
    assert.deepEqual(await codes(), [1, 1, 1, 1])
    assert.equal((await runFront(line(files.segments[0]), repository, { cwd })).exitCode, 0)
  })
})
