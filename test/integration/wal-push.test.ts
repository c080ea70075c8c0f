/** Pushing WAL files one by one: what is taken, what is taken again, and what is refused with what is stored left alone. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { CommandResult } from '../support/command-line.js'
import { openEndpointRepository, openWorkplace, pgsluice, type EndpointRepository } from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { makeWalFiles, runFront, walKeyOf, type WalFiles } from '../support/wal-files.js'

const MAJOR = availableMajors().at(-1)!

describe('wal push', { concurrency: 2 }, () => {
  let files: WalFiles
  let others: WalFiles
  let workplace: Awaited<ReturnType<typeof openWorkplace>>

  before(async () => {
    workplace = await openWorkplace()
    files = await makeWalFiles(MAJOR)
    others = await makeWalFiles(MAJOR, true)
  })
  after(async () => {
    await files[Symbol.asyncDispose]()
    await others[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  const push = (repository: EndpointRepository, file: string, options: { cwd?: string } = {}): Promise<CommandResult> =>
    pgsluice(['wal', 'push', file, '--pgdata', files.cluster.pgdata], repository, options)
  const walKeys = async (repository: EndpointRepository): Promise<string[]> =>
    (await repository.keys()).filter((key) => key.includes('/wal/'))

  /** A copy of a WAL file, changed, in a directory of its own. */
  function changed(name: string, as: string, change: (bytes: Buffer) => Buffer | undefined): string {
    const directory = workplace.at(`changed-${Math.random()}`)
    mkdirSync(directory)
    const bytes = readFileSync(files.path(name))
    writeFileSync(path.join(directory, as), change(bytes) ?? bytes)
    return path.join(directory, as)
  }

  it('stores segments, .partial, .history and .backup files, and plain zstd -d gives them back (A1, A4)', async () => {
    await using repository = await openEndpointRepository()
    const names = [files.segments[0], files.partial, files.history, files.backup]
    for (const name of names) {
      // As archive_command has it: relative to the data directory.
      const result = await pgsluice(['wal', 'push', `pg_wal/${name}`], repository, { cwd: files.cluster.pgdata })
      assert.deepEqual([result.exitCode, result.stdout, result.stderr], [0, '', ''], name)
      const object = await repository.get(walKeyOf(files, name))
      const { stdout, status } = spawnSync('zstd', ['-dc'], { input: object, maxBuffer: 2 ** 30 })
      assert.equal(status, 0)
      assert.ok(stdout.equals(readFileSync(files.path(name))), name)
    }
    assert.deepEqual(await walKeys(repository), names.map((name) => walKeyOf(files, name)).sort())
  })

  it('takes the same content again with a warning, and writes nothing (A2, A8)', async () => {
    await using repository = await openEndpointRepository()
    for (const name of [files.segments[0], files.history, files.backup]) {
      assert.equal((await push(repository, files.path(name))).exitCode, 0)
      const stored = await repository.get(walKeyOf(files, name))
      // Compressed in another way it is still the same content.
      const args = ['wal', 'push', files.path(name), '--pgdata', files.cluster.pgdata, '--compression-level', '9']
      const { exitCode, stderr } = await pgsluice(args, repository)
      assert.equal(exitCode, 0)
      assert.match(stderr, new RegExp(`"${name}" is in the archive already, with the same content`))
      assert.ok(stored.equals(await repository.get(walKeyOf(files, name))))
    }
  })

  it('refuses other content under a name that is taken, and what is stored stays (A2)', async () => {
    await using repository = await openEndpointRepository()
    for (const name of [files.segments[0], files.partial, files.history, files.backup]) {
      assert.equal((await push(repository, files.path(name))).exitCode, 0)
      const stored = await repository.get(walKeyOf(files, name))
      const other = changed(
        name,
        name,
        (bytes) => void bytes.writeUInt8(bytes.readUInt8(bytes.length - 2) ^ 1, bytes.length - 2),
      )
      const { exitCode, stderr } = await push(repository, other)
      assert.equal(exitCode, 4, stderr)
      assert.match(stderr, new RegExp(`"${name}" is in the archive already, with other content`))
      assert.ok(stored.equals(await repository.get(walKeyOf(files, name))), name)
    }
  })

  it('does not take a damaged object for the same content (A1, A2)', async () => {
    await using repository = await openEndpointRepository()
    const [name] = files.segments
    const key = walKeyOf(files, name)
    assert.equal((await push(repository, files.path(name))).exitCode, 0)
    const stored = await repository.get(key)
    for (const damage of [stored.subarray(0, stored.length - 5), flipped(stored, stored.length >> 1)]) {
      await repository.set(key, damage)
      const { exitCode, stderr } = await push(repository, files.path(name))
      assert.equal(exitCode, 3)
      assert.match(stderr, /damaged|could not decompress/)
    }
  })

  const refusals: readonly (readonly [string, () => string, number, RegExp])[] = [
    [
      'a name that is none of WAL',
      () => changed(files.history, 'notes.txt', () => undefined),
      2,
      /"notes.txt" is not the name/,
    ],
    [
      'a name in lower case',
      () => changed(files.segments[0], '00000001000000000000000a', () => undefined),
      2,
      /not the name/,
    ],
    [
      'a segment that is too short',
      () => changed(files.segments[0], files.segments[0], (bytes) => bytes.subarray(0, 65536)),
      4,
      /has 65536 bytes instead of 1048576/,
    ],
    [
      'a segment that is too long',
      () => changed(files.segments[0], files.segments[0], (bytes) => Buffer.concat([bytes, Buffer.alloc(8192)])),
      4,
      /has 1056768 bytes instead of 1048576/,
    ],
    [
      "another cluster's segment",
      () => changed(files.segments[0], others.segments[0], () => readFileSync(others.path(others.segments[0]))),
      4,
      /belongs to the cluster with system identifier/,
    ],
    [
      'a segment with a zeroed header',
      () => changed(files.segments[0], files.segments[0], (bytes) => bytes.fill(0, 0, 64)),
      4,
      /magic number 0x0000 is not one of WAL/,
    ],
    [
      'a segment with a wrong page address',
      () => changed(files.segments[0], files.segments[0], (bytes) => void bytes.writeUInt32LE(0x5000_0000, 8)),
      4,
      /it begins at 0\/50000000, its name says/,
    ],
    [
      'a renamed segment',
      () => changed(files.segments[0], files.segments[1], () => undefined),
      4,
      /it begins at .*, its name says/,
    ],
    [
      'a segment of a later timeline than its name',
      () => changed(files.segments[0], files.segments[0], (bytes) => void bytes.writeUInt32LE(7, 4)),
      4,
      /it is of timeline 7, its name says 1/,
    ],
    ['an empty history file', () => changed(files.history, files.history, () => Buffer.alloc(0)), 4, /is empty/],
    ['an empty segment', () => changed(files.history, files.segments[0], () => Buffer.alloc(0)), 4, /has 0 bytes/],
    ['a file that is not there', () => files.path('000000010000000000000099'), 3, /could not read .*no such file/],
  ]
  for (const [what, make, code, message] of refusals) {
    it(`refuses ${what} by name, and stores nothing (A5, A6)`, async () => {
      await using repository = await openEndpointRepository()
      const file = make()
      const { exitCode, stderr } = await push(repository, file)
      assert.equal(exitCode, code, stderr)
      assert.match(stderr, message)
      assert.ok(stderr.includes(path.basename(file)), 'the message names the file')
      assert.deepEqual(await walKeys(repository), [])
    })
  }

  it('of racing pushes of different content exactly one wins, and stays (A3)', async () => {
    await using repository = await openEndpointRepository()
    const [name] = files.segments
    const versions = [0, 1, 2, 3].map((n) => changed(name, name, (bytes) => void bytes.writeUInt8(n, bytes.length - 1)))
    assert.equal((await push(repository, files.path(files.history))).exitCode, 0) // the store is probed once before
    const results = await Promise.all(versions.map((file) => push(repository, file)))
    assert.deepEqual(results.map(({ exitCode }) => exitCode).sort(), [0, 4, 4, 4])
    const winner = versions[results.findIndex(({ exitCode }) => exitCode === 0)]!
    const { stdout } = spawnSync('zstd', ['-dc'], {
      input: await repository.get(walKeyOf(files, name)),
      maxBuffer: 2 ** 30,
    })
    assert.ok(stdout.equals(readFileSync(winner)))
  })

  it('knows the cluster from another working directory and through a symbolic link to PGDATA (A7)', async () => {
    await using repository = await openEndpointRepository()
    const link = workplace.at('pgdata-link')
    symlinkSync(files.cluster.pgdata, link)
    const calls: [string, string][] = [
      [files.path(files.segments[0]), '/'],
      [path.join(link, 'pg_wal', files.segments[1]), '/'],
      [`pg_wal/${files.segments[2]}`, link],
    ]
    for (const [file, cwd] of calls) {
      const { exitCode, stderr } = await pgsluice(['wal', 'push', file], repository, { cwd })
      assert.equal(exitCode, 0, stderr)
    }
    assert.deepEqual(
      await walKeys(repository),
      files.segments.slice(0, 3).map((name) => walKeyOf(files, name)),
    )
  })

  it('goes by the data directory of the file or that it runs in, whatever PGDATA says (A7, A14)', async () => {
    await using repository = await openEndpointRepository()
    for (const [file, cwd, PGDATA] of [
      [`pg_wal/${files.history}`, files.cluster.pgdata, others.cluster.pgdata],
      [`pg_wal/${files.backup}`, files.cluster.pgdata, 'relative'],
      [files.path(files.segments[0]), '/', others.cluster.pgdata],
      [changed(files.segments[1], files.segments[1], () => undefined), files.cluster.pgdata, others.cluster.pgdata],
    ] as const) {
      const { exitCode, stderr } = await pgsluice(['wal', 'push', file], repository, { cwd, env: { PGDATA } })
      assert.equal(exitCode, 0, stderr)
    }
    const keys = await walKeys(repository)
    assert.equal(keys.length, 4)
    assert.ok(keys.every((key) => key.startsWith(`${files.name}/`)))
  })

  it('stores nothing where an outage hides whether the store can write without replacing (A3, O6)', async () => {
    await using repository = await openEndpointRepository()
    repository.endpoint.fault({
      match: ({ operation, key }) => operation === 'PutObject' && key.endsWith('-once'),
      action: { status: 503, code: 'SlowDown' },
    })
    const args = ['wal', 'push', files.path(files.segments[0]), '--max-attempts', '1']
    const { exitCode, stderr } = await pgsluice(args, repository)
    assert.equal(exitCode, 3, stderr)
    assert.match(stderr, /could not find out whether .* can write without replacing/)
    assert.deepEqual(await walKeys(repository), [])
    repository.endpoint.clearFaults()
    assert.equal((await pgsluice(args, repository)).exitCode, 0)
  })

  it('refuses a repository whose cluster of that name is another one (A14)', async () => {
    await using repository = await openEndpointRepository()
    assert.equal((await push(repository, files.path(files.segments[0]))).exitCode, 0)
    const key = `${files.name}/cluster.json`
    const identity = (await repository.get(key)).toString()
    await repository.set(key, Buffer.from(identity.replace(/(walSegmentSize"?: ?)\d+/, '$116777216')))
    const { exitCode, stderr } = await push(repository, files.path(files.segments[1]))
    assert.ok(exitCode === 3 || exitCode === 4, stderr)
    assert.match(stderr, /cluster\.json/)
    assert.deepEqual(await walKeys(repository), [walKeyOf(files, files.segments[0])])
  })

  it('through the front ends with 1 to 125 for every failure, and with 0 for nothing else (A6)', async () => {
    await using repository = await openEndpointRepository()
    const cwd = files.cluster.pgdata
    const line = `push "pg_wal/${files.segments[0]}"`
    const code = async (...args: [line: string, env?: NodeJS.ProcessEnv, node?: string]): Promise<number> => {
      const [command, env = {}, node] = args
      return (await runFront(command, repository, { cwd, env, ...(node !== undefined && { node }) })).exitCode
    }
    assert.equal(await code(line, {}, '/no/such/node'), 3)
    assert.equal(await code(line, { NODE_OPTIONS: '--no-such-option' }), 9)
    assert.equal(await code(line, { PGSLUICE_REPOSITORY: 's3://no-such-bucket/x', PGSLUICE_MAX_ATTEMPTS: '1' }), 3)
    assert.equal(await code('push --help'), 2)
    assert.equal(await code('push'), 2)
    assert.deepEqual(await walKeys(repository), [])
    assert.equal(await code(line, { PGSLUICE_PUSH_AHEAD: '0' }), 0)
    assert.equal((await walKeys(repository)).length, 1)
  })
})

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 0x10, at)
  return copy
}
