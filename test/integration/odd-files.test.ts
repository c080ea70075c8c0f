/**
 * What a data directory may hold besides a cluster: names that are no text, names that broke other backup tools, things
 * that are no files, a file that tar's own header cannot size. All of it comes back, or is reported.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, lstatSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { readdirSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import { it } from 'node:test'
import { once } from 'node:events'
import { tarHeader, tarHeaderProblem } from '#src/streams/tar-header.js'
import { readManifest } from '../support/manifest.js'
import { findOracles } from '../support/oracles.js'
import {
  archiveWal,
  nameOf,
  openDirectoryRepository,
  openWorkplace,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'

const MAJOR = availableMajors().at(-1)!
const GiB = 1024 ** 3

/** Names as bytes, latin1. */
const NAMES = [
  'no-utf8-\xff\xfe\x80',
  'utf8-\xc3\xa4\xe2\x82\xac', // ä€
  'long-'.padEnd(99, '9'),
  'long-'.padEnd(100, 'a'),
  'long-'.padEnd(101, 'b'),
  'longest-'.padEnd(255, 'c'),
  'no-utf8-and-long-\xff'.padEnd(200, '\xfe'),
  'back\\slash',
  'equals=sign',
  '[leading',
  '#leading',
  '-leading',
  ' spaces at both ends ',
  'line\nbreak',
  'quote"and\'quote',
  'percent%f%p',
  'bell\x07',
]

it('files with names of any bytes come back as they were, and tar and pg_verifybackup agree (F11, F15)', async () => {
  await using repository = await openDirectoryRepository()
  using workplace = await openWorkplace()
  await using cluster = await startArchivingCluster(repository, { major: MAJOR })
  const odd = Buffer.from(`${cluster.pgdata}/odd`, 'latin1')
  const inside = (directory: Buffer, name: string): Buffer =>
    Buffer.concat([directory, Buffer.from(`/${name}`, 'latin1')])
  mkdirSync(odd)
  // Some of them empty, one large enough for frames of its own, and each name as a directory, too.
  for (const [index, name] of NAMES.entries()) {
    writeFileSync(inside(odd, name), randomBytes(index === 2 ? 3_000_000 : index % 3 === 0 ? 0 : 1000 + index))
    mkdirSync(inside(odd, `${name.slice(0, 250)}.dir`))
    writeFileSync(inside(inside(odd, `${name.slice(0, 250)}.dir`), name), name, 'latin1')
  }
  await giveToServerUser(cluster.pgdata)
  const before = contentsBelow(odd)
  assert.equal(before.size, NAMES.length * 2)
  await succeed(['backup', '--checksum', 'SHA256'], repository, { cluster })
  await archiveWal(cluster, repository)

  const keys = await repository.keys()
  const prefix = `${await nameOf(cluster)}/base/`
  const manifest = readManifest(await repository.get(keys.find((key) => key.endsWith('/backup_manifest'))!))
  const listed = manifest.files.map((file) => file.path).filter((name) => name.startsWith('odd/'))
  assert.deepEqual(listed.sort(), [...before.keys()].map((name) => `odd/${name}`).sort())

  const extracted = workplace.at('extracted')
  mkdirSync(extracted)
  for (const key of keys.filter((name) => name.startsWith(prefix) && name.endsWith('.tar.zst'))) {
    const args = ['-x', '--use-compress-program=zstd', '-f', path.join(repository.directory, key), '-C', extracted]
    const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
  assert.deepEqual(contentsBelow(Buffer.from(`${extracted}/odd`)), before, 'tar -x brings the same names and bytes')

  const target = workplace.at('restored')
  await succeed(['restore', '--target-dir', target], repository)
  assert.deepEqual(contentsBelow(Buffer.from(`${target}/odd`)), before)
  const verify = await findOracles(MAJOR)?.run('pg_verifybackup', ['-n', target], { asServerUser: true })
  if (verify !== undefined) assert.equal(verify.exitCode, 0, `${verify.stdout}${verify.stderr}`)
  await using restored = await startRestored(MAJOR, target, repository)
  assert.equal((await query(restored, 'select 1')).length, 1)
})

it('a symbolic link is reported with its target, and neither a FIFO nor a socket is ever opened (F6, F8)', async () => {
  await using repository = await openDirectoryRepository()
  using workplace = await openWorkplace()
  await using cluster = await startArchivingCluster(repository, { major: MAJOR })
  const at = (name: string): string => path.join(cluster.pgdata, name)
  const outside = workplace.at('outside')
  writeFileSync(outside, 'not of the cluster')
  symlinkSync(outside, at('link-to-file'))
  symlinkSync('/does/not/exist', at('link-to-nothing'))
  symlinkSync('.', at('link-to-itself'))
  // A reader of this FIFO would wait for ever: nobody writes to it.
  assert.equal((await runAsServerUser('mkfifo', [at('pipe')])).exitCode, 0)
  const connections: unknown[] = []
  const server = createServer((socket) => connections.push(socket)).listen(at('socket'))
  await once(server, 'listening')
  try {
    await giveToServerUser(cluster.pgdata)
    const { stderr } = await succeed(['backup'], repository, { cluster })
    assert.match(stderr, new RegExp(`"link-to-file" is not part of the backup: a symbolic link to "${outside}"`))
    assert.match(stderr, /"link-to-nothing" is not part of the backup: a symbolic link to "\/does\/not\/exist"/)
    assert.match(stderr, /"link-to-itself" is not part of the backup/)
    assert.match(stderr, /"pipe" is not part of the backup: a FIFO/)
    assert.match(stderr, /"socket" is not part of the backup: a socket/)
    assert.deepEqual(connections, [])
  } finally {
    server.close()
  }
  await archiveWal(cluster, repository)
  const target = workplace.at('restored')
  await succeed(['restore', '--target-dir', target], repository)
  const names = readdirSync(target)
  for (const name of ['link-to-file', 'link-to-nothing', 'link-to-itself', 'pipe', 'socket']) {
    assert.ok(!names.includes(name), name)
  }
})

it('a pg_wal that is a symbolic link comes back as a directory, without the WAL that was in it (W2, R9)', async () => {
  await using repository = await openDirectoryRepository()
  using workplace = await openWorkplace()
  await using cluster = await startArchivingCluster(repository, { major: MAJOR, start: false })
  const moved = workplace.at('moved-wal')
  const wal = path.join(cluster.pgdata, 'pg_wal')
  assert.equal((await runAsServerUser('mv', [wal, moved])).exitCode, 0)
  symlinkSync(moved, wal)
  await cluster.start()
  await succeed(['backup'], repository, { cluster })
  await archiveWal(cluster, repository)
  const target = workplace.at('restored')
  await succeed(['restore', '--target-dir', target], repository)
  assert.ok(lstatSync(path.join(target, 'pg_wal')).isDirectory())
  assert.deepEqual(
    readdirSync(path.join(target, 'pg_wal')).sort(),
    readdirSync(moved)
      // notes of what was pushed ahead speak for the source alone (A10)
      .filter((name) => name !== 'pgsluice')
      .filter((n) => !/^0/.test(n))
      .sort(),
  )
  await using restored = await startRestored(MAJOR, target, repository)
  assert.equal((await query(restored, 'select 1')).length, 1)
})

it('a cluster that its group may read (initdb -g) comes back with 0750 and 0640, whatever the umask (R3, F10)', async () => {
  await using repository = await openDirectoryRepository()
  using workplace = await openWorkplace()
  const options = { major: MAJOR, initdbArgs: ['--data-checksums', '--allow-group-access'] }
  await using cluster = await startArchivingCluster(repository, options)
  await succeed(['backup'], repository, { cluster })
  await archiveWal(cluster, repository)
  for (const umask of [0o077, 0o000]) {
    const target = workplace.at(`restored-${umask}`)
    const previous = process.umask(umask)
    try {
      await succeed(['restore', '--target-dir', target], repository)
    } finally {
      process.umask(previous)
    }
    assert.equal(lstatSync(target).mode & 0o7777, 0o750)
    for (const name of readdirSync(target, { recursive: true, encoding: 'utf8' })) {
      const status = lstatSync(path.join(target, name))
      assert.equal(status.mode & 0o7777, expectedMode(name, status.isDirectory()), name)
    }
    await using restored = await startRestored(MAJOR, target, repository)
    assert.equal((await query(restored, 'show data_directory_mode')).length, 1)
  }
})

/** Files that the restore itself writes are for the server alone. */
function expectedMode(name: string, isDirectory: boolean): number {
  const written = ['backup_label', 'backup_manifest', 'recovery.signal']
  return isDirectory ? 0o750 : written.includes(name) ? 0o600 : 0o640
}

it('tar reads the header of a file of 9 GiB, more than the size field of ustar can say (F12)', async () => {
  using workplace = await openWorkplace()
  const size = 9 * GiB
  const member = {
    name: Buffer.from('base/5/huge'),
    type: 'file' as const,
    size,
    mode: 0o600,
    uid: 0,
    gid: 0,
    mtimeMs: 0,
  }
  const header = await tarHeader(member)
  assert.equal(tarHeaderProblem(header.subarray(-512), size), undefined)
  // The body is a hole, over which tar seeks: to read one through a whole backup takes half a minute.
  const file = openSync(workplace.at('huge.tar'), 'w')
  writeSync(file, header)
  writeSync(file, 'last', header.length + size - 4)
  ftruncateSync(file, header.length + size + 1024)
  closeSync(file)
  const { status, stdout, stderr } = spawnSync('tar', ['-tvf', workplace.at('huge.tar')], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  assert.match(stdout, new RegExp(`^-rw------- \\S+ +${size} .* base/5/huge\n$`))
})

/** Contents of all files below a directory, by their path in it; paths as latin1 text, one character a byte. */
function contentsBelow(directory: Buffer, prefix = ''): Map<string, string> {
  const found = new Map<string, string>()
  for (const name of readdirSync(directory, { encoding: 'buffer' })) {
    const file = Buffer.concat([directory, Buffer.from('/'), name])
    const place = `${prefix}${name.toString('latin1')}`
    if (lstatSync(file).isDirectory()) for (const entry of contentsBelow(file, `${place}/`)) found.set(...entry)
    else found.set(place, readFileSync(file).toString('latin1'))
  }
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}
