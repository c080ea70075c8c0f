/**
 * The objects of a repository, read by tools that are not ours: zstd, tar, pg_waldump, a seek table parsed here. What they
 * say must be what the indexes and PostgreSQL's manifest say, to the byte.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { readManifest } from '../support/manifest.js'
import { requireOracles } from '../support/oracles.js'
import {
  archiveWal,
  filesBelow,
  openDirectoryRepository,
  openWorkplace,
  startArchivingCluster,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query } from '../support/postgres.js'
import { readSeekTable, zstdFrames } from '../support/seek-table.js'

const MiB = 1024 * 1024
const MAJOR = availableMajors().at(-1)!

interface FileLine {
  type: string
  path: string
  size: number
  archive: number
  offset: number
  checksum: string
}

interface Record {
  id: string
  cluster: string
  start: { lsn: string; segment: string }
  stop: { lsn: string; segment: string }
}

/** Runs a tool that must succeed. */
function tool(command: string, args: readonly string[], input?: Uint8Array): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, maxBuffer: 2 ** 31 - 1 })
  if (error !== undefined) throw error
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stderr.toString()}`)
  return stdout
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('the objects of a backup, read by zstd, tar and pg_waldump', () => {
  let repository: Awaited<ReturnType<typeof openDirectoryRepository>>
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let record: Record
  let files: FileLine[]
  let archives: string[]
  let extracted: string

  const objectPath = (key: string): string => path.join(repository.directory, key)
  const base = (name: string): string => `${record.cluster}/base/${record.id}/${name}`
  const jsonLines = (key: string): { type: string }[] =>
    tool('zstd', ['-dc', objectPath(key)])
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string })

  before(async () => {
    repository = await openDirectoryRepository()
    workplace = await openWorkplace()
    await using cluster = await startArchivingCluster(repository, { major: MAJOR })
    // Several frames of what compresses and of what does not, and enough bytes for several archives.
    await query(cluster, `create table words as select md5(i::text) as word from generate_series(1, 700000) i`)
    await query(
      cluster,
      `create table noise as select string_agg(uuid_send(gen_random_uuid()), ''::bytea) as bytes
         from generate_series(1, 2000000) i group by i % 8000`,
    )
    const { stdout } = await succeed(['backup', '--json', '--checksum', 'SHA256', '--jobs', '2'], repository, {
      cluster,
    })
    const lines = stdout.trimEnd().split('\n')
    record = (JSON.parse(lines.at(-1)!) as { backup: Record }).backup
    await archiveWal(cluster, repository)
    files = jsonLines(base('files.jsonl.zst')).filter(({ type }) => type === 'file') as FileLine[]
    archives = filesBelow(repository.directory).filter((key) => key.endsWith('.tar.zst'))
    extracted = workplace.at('extracted')
    mkdirSync(extracted)
    for (const key of archives)
      tool('tar', ['-x', '--use-compress-program=zstd', '-f', objectPath(key), '-C', extracted])
  })

  after(async () => {
    workplace[Symbol.dispose]()
    await repository[Symbol.asyncDispose]()
  })

  it('every compressed object passes zstd -t, and every archive tar -t (format rules 3 and 4)', () => {
    const compressed = filesBelow(repository.directory).filter((key) => key.endsWith('.zst'))
    assert.ok(archives.length >= 4 && compressed.length > archives.length + 3)
    for (const key of compressed) tool('zstd', ['-t', '-q', objectPath(key)])
    const listed = archives.flatMap((key) =>
      tool('tar', ['-tv', '--use-compress-program=zstd', '-f', objectPath(key)])
        .toString()
        .trimEnd()
        .split('\n'),
    )
    const members = listed.map((line) => /^(\S+) +\S+ +(\d+) \S+ \S+ (.*)$/.exec(line)!)
    assert.deepEqual(
      members.flatMap(([, mode, size, name]) => (mode!.startsWith('d') ? [] : [`${mode} ${size} ${name}`])).sort(),
      files.map((file) => `-rw------- ${file.size} ${file.path}`).sort(),
      'the members of all archives are the files of the index, each once',
    )
  })

  it('tar -x of all archives gives exactly the files of files.jsonl, with equal sizes and checksums (rule 3)', () => {
    assert.deepEqual(filesBelow(extracted), files.map((file) => file.path).sort())
    for (const file of files) {
      const bytes = readFileSync(path.join(extracted, file.path))
      assert.deepEqual([bytes.length, sha256(bytes)], [file.size, file.checksum], file.path)
    }
  })

  it('objects.jsonl names every object of the backup with its size and SHA-256 (rule 3)', () => {
    const lines = jsonLines(base('objects.jsonl.zst')) as { type: string; name: string; size: number; sha256: string }[]
    const objects = lines.filter(({ type }) => type === 'object')
    const stored = filesBelow(path.dirname(objectPath(base('backup_label')))).filter(
      (name) => name !== 'objects.jsonl.zst',
    )
    assert.deepEqual(objects.map(({ name }) => name).sort(), stored)
    for (const { name, size, sha256: hash } of objects) {
      const bytes = readFileSync(objectPath(base(name)))
      assert.deepEqual([bytes.length, sha256(bytes)], [size, hash], name)
    }
  })

  it('global/pg_control is alone in the last archive (W12, E7)', () => {
    const last = tool('tar', ['-t', '--use-compress-program=zstd', '-f', objectPath(archives.at(-1)!)])
    assert.equal(last.toString(), 'global/pg_control\n')
  })

  it('the seek table at the end adds up, and each frame decompresses alone (rule 5)', () => {
    for (const key of archives) {
      const bytes = readFileSync(objectPath(key))
      const frames = readSeekTable(bytes)
      const whole = tool('zstd', ['-dc'], bytes)
      let at = 0
      for (const frame of frames) {
        const alone = tool('zstd', ['-dc'], bytes.subarray(frame.offset, frame.offset + frame.compressedSize))
        assert.equal(alone.length, frame.size)
        assert.ok(frame.size <= 8 * MiB)
        assert.ok(alone.equals(whole.subarray(at, at + frame.size)), `${key}: frame at ${frame.offset}`)
        at += frame.size
      }
      assert.equal(at, whole.length)
      assert.deepEqual(
        zstdFrames(bytes),
        frames.map(({ offset }) => offset),
        'the table knows every frame',
      )
    }
  })

  it('a file of 1 MiB or more begins a frame, and fills frames of 8 MiB each (rule 5)', () => {
    const large = files.filter(({ size }) => size >= MiB)
    assert.ok(large.some(({ size }) => size > 20 * MiB))
    for (const { path: name, archive, offset, size } of large) {
      const frames = readSeekTable(readFileSync(objectPath(base(`${String(archive).padStart(5, '0')}.tar.zst`))))
      const first = frames.findIndex(({ start }) => start === offset)
      assert.notEqual(first, -1, `no frame begins with "${name}"`)
      const sizes = frames.slice(first, first + Math.ceil(size / (8 * MiB))).map((frame) => frame.size)
      const expected = sizes.map((_, index) => Math.min(8 * MiB, size - index * 8 * MiB))
      assert.deepEqual(sizes, expected, name)
    }
  })

  it('the backup_manifest in the bucket lists the same files and proves itself (E13)', () => {
    const manifest = readManifest(readFileSync(objectPath(base('backup_manifest'))))
    const listed = manifest.files.map(({ path: name, size, checksum }) => `${name} ${size} ${checksum}`)
    const label = readFileSync(objectPath(base('backup_label')))
    const expected = files.map((file) => `${file.path} ${file.size} ${file.checksum}`)
    expected.push(`backup_label ${label.length} ${sha256(label)}`)
    assert.deepEqual(listed.sort(), expected.sort())
    assert.equal(manifest.version, MAJOR >= 17 ? 2 : 1)
    assert.deepEqual(manifest.walRanges, [{ timeline: 1, start: record.start.lsn, end: record.stop.lsn }])
  })

  it('pg_waldump reads the WAL from start to stop out of objects that zstd -d decompressed (rule 3)', async (t) => {
    const oracles = requireOracles(t, MAJOR)
    if (oracles === undefined) return
    const wal = workplace.at('wal')
    mkdirSync(wal)
    for (const key of filesBelow(repository.directory).filter((name) => /\/[0-9A-F]{24}\.zst$/.test(name))) {
      writeFileSync(path.join(wal, path.basename(key, '.zst')), tool('zstd', ['-dc', objectPath(key)]))
    }
    const range = ['-p', wal, '-s', record.start.lsn, '-e', record.stop.lsn]
    const { exitCode, stdout, stderr } = await oracles.run('pg_waldump', range)
    assert.equal(exitCode, 0, stderr)
    assert.match(stdout, /desc: BACKUP_END/)
    rmSync(wal, { recursive: true })
  })
})
