/**
 * Files that grow, shrink or vanish while they are read: sizes are exactly as announced, hashes are of what is stored,
 * and every file that follows lies where the index says (F1, F2, F4). Read back by `tar` and by our own extraction.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { createFrameMemory } from '#src/archive/archive-source.js'
import { objectBound } from '#src/archive/archive-plan.js'
import { ArchiveReader } from '#src/archive/archive-reader.js'
import { extractArchive } from '#src/archive/extract-archive.js'
import type { PackJob, PackResult } from '#src/archive/jobs.js'
import type { PackMember } from '#src/archive/pack-member.js'
import { packArchive } from '#src/archive/pack-archive.js'
import { createFileChecksum } from '#src/postgres/checksum.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import { Scene } from '../support/backup-scene.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { query, startCluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MIB = 1024 * 1024
const silent = { signal: new AbortController().signal, addProgress: (): void => undefined }

describe('an archive of files that change while they are read', () => {
  let home: string
  let data: string
  let storage: Storage
  const memory = createFrameMemory()

  before(async () => {
    home = newHome()
    storage = await openStorage({ url: `file://${home}/repository` })
    mkdirSync(path.join(home, 'repository'))
  })
  after(() => {
    storage.close()
    removeHome(home)
  })
  beforeEach(() => {
    data = path.join(home, 'data')
    rmSync(data, { recursive: true, force: true })
    rmSync(path.join(home, 'repository/archive.tar.zst'), { force: true })
    mkdirSync(data)
  })

  const member = (index: number, name: string, size: number): PackMember => {
    return { index, type: 'file', path: name, size, mode: 0o600, uid: 0, gid: 0, mtimeMs: 1_700_000_000_000 }
  }
  const pack = (members: PackMember[], meanwhile?: () => void): Promise<PackResult> => {
    const job: PackJob = {
      kind: 'pack',
      archive: 0,
      key: 'archive.tar.zst',
      dataDirectory: data,
      members,
      objectBound: objectBound(200 * MIB, members.length),
      checksumAlgorithm: 'CRC32C',
      compressionLevel: 1,
    }
    return packArchive(job, storage, memory, { ...silent, addProgress: () => meanwhile?.() })
  }
  const filesOf = ({ files }: PackResult) => {
    const hex = Buffer.from(files.checksum).toString('hex')
    return [...files.rows].map((index, at) => ({
      index,
      size: files.size[at]!,
      offset: files.offset[at]!,
      padded: files.padded[at] === 1,
      checksum: hex.slice(at * 8, at * 8 + 8),
    }))
  }
  const checksum = (bytes: Uint8Array): string => {
    const made = createFileChecksum('CRC32C')
    made.update(bytes)
    return made.digest()
  }

  /** What the archive holds must be this, whoever reads it; a member that is undefined must not be in it. */
  async function expectFiles(members: PackMember[], result: PackResult, wanted: (Buffer | undefined)[]): Promise<void> {
    const rows = wanted.flatMap((bytes, index) => (bytes === undefined ? [] : [{ bytes, index }]))
    assert.deepEqual(
      filesOf(result).map(({ index }) => index),
      rows.map(({ index }) => index),
    )
    const pieces: Buffer[] = []
    for await (const piece of decompress(await storage.get('archive.tar.zst'), [new Uint8Array(MIB)], 'it')) {
      pieces.push(Buffer.from(piece))
    }
    const tar = Buffer.concat(pieces)
    for (const { bytes, index } of rows) {
      const file = filesOf(result).find((each) => each.index === index)!
      assert.ok(
        tar.subarray(file.offset, file.offset + bytes.length).equals(bytes),
        `${members[index]!.path} is at its offset`,
      )
      assert.equal(file.checksum, checksum(bytes))
    }
    const names = execFileSync('tar', ['-tf', '-'], { input: tar, maxBuffer: 256 * MIB })
      .toString()
      .trim()
      .split('\n')
    assert.deepEqual(
      names,
      rows.map(({ index }) => members[index]!.path),
    )
    const targetDirectory = path.join(home, 'extracted')
    mkdirSync(targetDirectory)
    try {
      const files = rows.map(({ index }) => ({
        ...members[index]!,
        ...filesOf(result).find((each) => each.index === index)!,
      }))
      const job = { kind: 'extract', archive: 0, key: 'archive.tar.zst', checksumAlgorithm: 'CRC32C' } as const
      await extractArchive(
        { ...job, storedBytes: result.storedBytes, targetDirectory, files, setOwner: false },
        new ArchiveReader(storage),
        [memory.bytes, createFrameMemory().bytes],
        silent,
      )
      for (const { bytes, index } of rows) {
        assert.ok(readFileSync(path.join(targetDirectory, members[index]!.path)).equals(bytes))
      }
    } finally {
      rmSync(targetDirectory, { recursive: true })
    }
  }

  const write = (name: string, size: number): Buffer => {
    const bytes = randomBytes(size)
    writeFileSync(path.join(data, name), bytes)
    return bytes
  }

  for (const [what, size] of [
    ['small', 8192],
    ['of frames of its own', 2 * MIB],
    ['of several frames', 20 * MIB + 512],
    ['of an odd size', 1_000_001],
  ] as const) {
    test(`a file ${what} that grew is cut to the size that was announced (F1)`, async () => {
      const members = [member(0, 'before', 100), member(1, 'it', size), member(2, 'after', 5000)]
      const wanted = [write('before', 100), write('it', size), write('after', 5000)]
      appendFileSync(path.join(data, 'it'), randomBytes(9000))
      const result = await pack(members)
      await expectFiles(members, result, wanted)
      assert.deepEqual(result.remarks, [])
    })

    test(`a file ${what} that shrank is padded with zeros, which its hash covers (F2)`, async () => {
      const members = [member(0, 'before', 100), member(1, 'it', size), member(2, 'after', 5000)]
      const wanted = [write('before', 100), write('it', size), write('after', 5000)]
      const left = Math.floor(size / 3)
      truncateSync(path.join(data, 'it'), left)
      wanted[1]!.fill(0, left)
      const result = await pack(members)
      await expectFiles(members, result, wanted)
      assert.equal(filesOf(result)[1]?.padded, true)
      // no relation file: whoever looks should know (F3)
      assert.deepEqual(result.remarks, [{ path: 'it', remark: 'shrank while it was read; the rest is zeros' }])
    })

    test(`a file ${what} that is gone is left out, and the next ones are not taken for it (F4)`, async () => {
      const members = [member(0, 'before', 100), member(1, 'it', size), member(2, 'after', 5000)]
      const wanted = [write('before', 100), undefined, write('after', 5000)]
      const result = await pack(members)
      await expectFiles(members, result, wanted)
      assert.deepEqual(result.vanished, [1])
    })
  }

  test('a file that is truncated in the middle of its reading is padded from there (F2)', async () => {
    const members = [member(0, 'it', 20 * MIB), member(1, 'after', 3 * MIB)]
    const wanted = [write('it', 20 * MIB), write('after', 3 * MIB)]
    let frames = 0
    const result = await pack(members, () => {
      // the first frame is the header alone, the second 8 MiB of the file
      if (++frames === 2) truncateSync(path.join(data, 'it'), 10 * MIB)
    })
    wanted[0]!.fill(0, 10 * MIB)
    await expectFiles(members, result, wanted)
    assert.equal(filesOf(result)[0]?.padded, true)
  })

  test('a file that is removed while it is read is read to its end, since it is open (F4)', async () => {
    const members = [member(0, 'it', 20 * MIB), member(1, 'after', 3 * MIB)]
    const wanted = [write('it', 20 * MIB), write('after', 3 * MIB)]
    const result = await pack(members, () => {
      rmSync(path.join(data, 'it'), { force: true })
    })
    await expectFiles(members, result, wanted)
    assert.deepEqual(result.vanished, [])
  })

  test('an archive of which every file is gone is a valid, empty one', async () => {
    const members = [member(0, 'a', 100), member(1, 'b', 2 * MIB)]
    const result = await pack(members)
    assert.deepEqual([filesOf(result), result.vanished], [[], [0, 1]])
    assert.ok(result.storedBytes > 0)
  })

  for (const [what, make] of [
    ['a symbolic link', (name: string): void => symlinkSync('/etc/hostname', name)],
    ['a directory', (name: string): void => mkdirSync(name)],
    ['a FIFO', (name: string): void => void execFileSync('mkfifo', [name])],
  ] as const) {
    test(`a file that became ${what} fails the backup, and is neither followed nor waited for (F8)`, async () => {
      write('before', 100)
      make(path.join(data, 'it'))
      await assert.rejects(pack([member(0, 'before', 100), member(1, 'it', 100)]), /could not (open|read) ".*\/it"/)
      assert.equal(await storage.head('archive.tar.zst'), undefined)
    })
  }
})

const obstacle = await whyNoCommandLine()

describe('backup while tables are truncated and dropped', { skip: obstacle ?? false }, () => {
  let scene: Scene
  before(async () => {
    scene = await Scene.open({ fillerBytes: 34 * MIB })
  })
  after(() => scene.close())

  test('backup of tables that shrink and vanish while it runs restores everything else (F2, F4, W11)', async () => {
    const { cluster, endpoint } = scene
    for (const name of ['truncated', 'dropped', 'gone', 'kept']) {
      await query(
        cluster,
        `create table ${name} as select i, repeat('x', 900) as filler from generate_series(1, 3000) i`,
      )
    }
    await query(cluster, 'checkpoint')
    // the file that does not compress is the first archive: while it stalls, nothing else is read
    const isHeld = ({ operation, key }: { operation: string; key: string }): boolean =>
      operation === 'UploadPart' && key.endsWith('00000.tar.zst')
    endpoint.fault({ match: isHeld, times: 2, action: 'stall' })
    const command = await scene.start(['backup', '--json', '--jobs', '1', '--request-timeout', '8s'])
    await waitUntil('the first part', () => endpoint.requests.some(isHeld))
    await query(cluster, 'drop table gone')
    await query(cluster, 'checkpoint') // removes its file
    await query(cluster, 'truncate truncated')
    await query(cluster, 'drop table dropped') // its file is empty now, and goes with the next checkpoint
    const { exitCode, stderr } = await command.ended
    assert.equal(exitCode, 0, stderr)
    const [key = ''] = scene.records()
    const record = JSON.parse((await scene.get(key))!.toString()) as { totals: { vanishedFiles: number } }
    assert.ok(record.totals.vanishedFiles > 0)
    const home = newHome()
    try {
      await giveToServerUser(home)
      const target = path.join(home, 'target')
      const restore = await scene.run(['restore', '--quiet', '--target-dir', target])
      assert.equal(restore.exitCode, 0, restore.stderr)
      await using restored = await startCluster({ major: cluster.major, directory: target, env: scene.env })
      await restored.waitForLog(/archive recovery complete/)
      const rows = await query<{ name: string; n: number }>(
        restored,
        `select 'kept' as name, count(*)::int as n from kept union all select 'truncated', count(*)::int from truncated
         union all select relname, -1 from pg_class where relname in ('gone', 'dropped')`,
      )
      assert.deepEqual(rows, [
        { name: 'kept', n: 3000 },
        { name: 'truncated', n: 0 },
      ])
    } finally {
      removeHome(home)
    }
  })
})
