/** Places that a restore must refuse, or cannot write to: nothing there may change (R1). */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import { reasonOf } from '#src/errors.js'
import { runCommand, whyNoCommandLine } from '../support/command-line.js'
import { FileRepository } from '../support/file-repository.js'
import { query } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

describe('restore to a place that it must not or cannot use', { skip: obstacle ?? false }, () => {
  let repository: FileRepository
  let location: string

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    location = path.join(repository.home, 'space')
    mkdirSync(location)
    await giveToServerUser(location)
    await query(cluster, `create tablespace space location '${location}'`)
    // large enough that it shows which file system it counts for
    await query(cluster, 'create table inside tablespace space as select generate_series(1, 700000) as id')
    await repository.backUp(cluster)
  })
  after(() => repository.close())

  const fill = (directory: string, name: string): string => {
    mkdirSync(directory, { recursive: true })
    writeFileSync(path.join(directory, name), 'precious')
    return directory
  }
  const elsewhere = (): ReadonlyMap<string, string> => new Map([[location, `${repository.newTarget()}-space`]])

  const env = { PGSLUICE_CONFIG: '/dev/null' }
  const restoreTo = (target: string): string[] => {
    return ['restore', '--target-dir', target, '--repository', repository.url, '--tablespace-mapping']
  }

  const refused: {
    name: string
    options: () => { targetDirectory: string; tablespaceMapping?: ReadonlyMap<string, string> }
    exitCode: number
    says: RegExp
  }[] = [
    {
      name: 'a directory that is not empty',
      options: () => ({ targetDirectory: fill(repository.newTarget(), 'file') }),
      exitCode: 4,
      says: /the target directory "[^"]+" is not empty\nHINT: Restore into an empty directory/,
    },
    {
      name: 'a directory in which a server may be running',
      options: () => ({ targetDirectory: fill(repository.newTarget(), 'postmaster.pid') }),
      exitCode: 4,
      says: /is not empty, and a server may be running in it/,
    },
    {
      name: 'a file',
      options: () => {
        const directory = fill(repository.newTarget(), 'file')
        return { targetDirectory: path.join(directory, 'file') }
      },
      exitCode: 3,
      says: /could not look into "[^"]+\/file": .*ENOTDIR/,
    },
    {
      name: 'the tablespace of the source, which is in use (R1, T3)',
      options: () => ({ targetDirectory: repository.newTarget(), tablespaceMapping: new Map() }),
      exitCode: 4,
      says: /the tablespace location "[^"]+" holds files of a cluster of this version\nHINT: .*--tablespace-mapping/,
    },
    {
      name: 'a tablespace inside the data directory (T10)',
      options: () => {
        const targetDirectory = repository.newTarget()
        return { targetDirectory, tablespaceMapping: new Map([[location, path.join(targetDirectory, 'space')]]) }
      },
      exitCode: 2,
      says: /the tablespace location "[^"]+" is "[^"]+" or lies inside it/,
    },
    {
      name: 'a tablespace that the backup does not have',
      options: () => ({
        targetDirectory: repository.newTarget(),
        tablespaceMapping: new Map([...elsewhere(), ['/no/such/space', '/other']]),
      }),
      exitCode: 2,
      says: /no tablespace of this backup is at "\/no\/such\/space"\nHINT: Its tablespaces are at: /,
    },
  ]
  for (const { name, options, exitCode, says } of refused) {
    test(`restore refuses ${name}, and changes nothing`, async () => {
      const given = { tablespaceMapping: elsewhere(), ...options() }
      const { targetDirectory } = given
      const before = existsSync(targetDirectory) ? snapshot(targetDirectory) : undefined
      const ended = await repository.restore(given)
      assert.equal(ended.exitCode, exitCode, ended.message)
      assert.match(ended.message, says)
      assert.deepEqual(existsSync(targetDirectory) ? snapshot(targetDirectory) : undefined, before)
    })
  }

  test('restore that fails gives an empty target its mode back, and removes the tablespace locations it made', async () => {
    const targetDirectory = repository.newTarget()
    mkdirSync(targetDirectory)
    chmodSync(targetDirectory, 0o755)
    const { id, cluster } = repository.backups[0]!
    const key = `${cluster}/base/${id}/backup_label`
    const tablespaceMapping = elsewhere()
    const ended = await repository.damaged({ [key]: Buffer.alloc(repository.read(key).length) }, () =>
      repository.restore({ targetDirectory, tablespaceMapping }),
    )
    assert.equal(ended.exitCode, 3, ended.message)
    assert.deepEqual(readdirSync(targetDirectory), [])
    assert.equal(statSync(targetDirectory).mode & 0o777, 0o755)
    for (const place of tablespaceMapping.values()) assert.ok(!existsSync(place), `"${place}" was not there before`)
  })

  test('restore says which directory it could not make when the parent is not writable', async () => {
    const parent = repository.newTarget()
    mkdirSync(parent, { mode: 0o555 })
    const [target, space] = [path.join(parent, 'target'), `${location}=${repository.newTarget()}-space`]
    const args = ['restore', '--target-dir', target, '--repository', repository.url, '--tablespace-mapping', space]
    const { exitCode, stderr } = await runCommand(args, { env: { PGSLUICE_CONFIG: '/dev/null' } })
    assert.equal(exitCode, 3, stderr)
    assert.match(stderr, /could not make the directories of "[^"]+\/target": EACCES/)
    assert.deepEqual(readdirSync(parent), [])
  })

  test('restore passes by what in a tablespace location is not its own, even what it may not read (T1)', async () => {
    const [target, space] = [repository.newTarget(), `${repository.newTarget()}-space`]
    mkdirSync(space)
    await giveToServerUser(space)
    for (const name of ['lost+found', 'PG_9.6_201608131']) mkdirSync(path.join(space, name), { mode: 0o700 })
    const { exitCode, stderr } = await runCommand([...restoreTo(target), `${location}=${space}`], { env })
    assert.equal(exitCode, 0, stderr)
    assert.deepEqual(readdirSync(space).length, 3)
  })

  test('restore warns of a parent directory that it may not read, which others made, and succeeds', async () => {
    const parent = repository.newTarget()
    const [target, space] = [path.join(parent, 'target'), path.join(parent, 'space')]
    for (const directory of [parent, target, space]) mkdirSync(directory)
    for (const directory of [target, space]) await giveToServerUser(directory)
    chmodSync(parent, 0o711)
    const { exitCode, stderr } = await runCommand([...restoreTo(target), `${location}=${space}`], { env })
    assert.equal(exitCode, 0, stderr)
    assert.match(stderr, /could not sync the directory "[^"]+": EACCES/)
    assert.ok(existsSync(path.join(target, 'global/pg_control')))
  })

  test('restore that fails removes the parents that it made', async () => {
    const parent = repository.newTarget()
    const { id, cluster } = repository.backups[0]!
    const key = `${cluster}/base/${id}/backup_label`
    const ended = await repository.damaged({ [key]: Buffer.alloc(repository.read(key).length) }, () =>
      repository.restore({ targetDirectory: path.join(parent, 'a/b'), tablespaceMapping: elsewhere() }),
    )
    assert.equal(ended.exitCode, 3, ended.message)
    assert.ok(!existsSync(parent))
  })

  test('restore counts what goes to a tablespace against the file system where that is (R2)', async (t) => {
    const small = mountSmall(t, repository.newTarget(), 'size=4m')
    if (small === undefined) return
    try {
      const tablespaceMapping = new Map([[location, path.join(small, 'space')]])
      const ended = await repository.restore({ tablespaceMapping })
      assert.equal(ended.exitCode, 3, ended.message)
      assert.match(ended.message, new RegExp(`"${small}" has \\d+ bytes free, and the backup needs \\d+ there`))
      assert.deepEqual(readdirSync(small), [])
    } finally {
      execFileSync('umount', [small])
    }
    const enough = repository.backups[0]!.totals.bytes - 15 * 1024 * 1024
    const place = mountSmall(t, repository.newTarget(), `size=${enough}`)
    if (place === undefined) return
    try {
      const options = { targetDirectory: path.join(place, 'target'), tablespaceMapping: elsewhere() }
      assert.deepEqual(await repository.restore(options), { exitCode: 0, message: '' })
    } finally {
      execFileSync('umount', [place])
    }
  })

  for (const { name, size, says } of [
    {
      name: 'refuses a file system with too little space, and names both sizes (R2)',
      size: 'size=4m',
      says: /has \d+ bytes free, and the backup needs \d+/,
    },
    {
      name: 'cleans up when the file system fills up in the middle',
      size: 'size=512m,nr_inodes=150',
      says: /ENOSPC: no space left on device/,
    },
  ]) {
    test(`restore ${name}`, async (t) => {
      const place = mountSmall(t, repository.newTarget(), size)
      if (place === undefined) return
      try {
        const targetDirectory = path.join(place, 'target')
        const ended = await repository.restore({ targetDirectory, tablespaceMapping: elsewhere() })
        assert.equal(ended.exitCode, 3, ended.message)
        assert.match(ended.message, says)
        assert.deepEqual(readdirSync(place), [])
      } finally {
        execFileSync('umount', [place])
      }
    })
  }
})

function snapshot(place: string): unknown {
  const status = statSync(place)
  if (status.isFile()) return [status.mode, readFileSync(place, 'utf8')]
  return [status.mode, readdirSync(place).map((name) => [name, snapshot(path.join(place, name))])]
}

/** A small file system of its own, or undefined where the test was skipped. */
function mountSmall(t: TestContext, place: string, options: string): string | undefined {
  mkdirSync(place)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', place], { stdio: 'pipe' })
    return place
  } catch (error) {
    t.skip(`this machine cannot mount a small file system: ${reasonOf(error).split('\n').at(-2) ?? ''}`)
    return undefined
  }
}
