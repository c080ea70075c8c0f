/**
 * Restores from a repository of which one object is damaged, each object in every way: flipped bytes, cut, gone, longer,
 * swapped, taken from another backup or cluster. None may succeed, each must name the object, and the target must be as
 * it was (R2, R5, V3, V8). What a restore does not need is listed, with the reason.
 */
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { createFileChecksum } from '#src/postgres/checksum.js'
import { FrameCompressor, seekTable, skippableFrame } from '#src/streams/zstd-compress.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository } from '../support/file-repository.js'
import { query } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

/** Objects of which each byte decides a restore, by what their key looks like. */
const NEEDED = [
  {
    name: 'cluster.json',
    key: /\/cluster\.json$/,
    missing: { exitCode: 2, says: /no cluster in "[^"]+" is named "pg/ },
  },
  {
    name: 'the record',
    key: /\/backups\/[^/]+\.json$/,
    missing: { exitCode: 2, says: /no backup of cluster "[^"]+" has the id or label/ },
  },
  { name: 'the large archive', key: /\/00000\.tar\.zst$/ },
  { name: 'the archive of pg_control', key: /\/00001\.tar\.zst$/ },
  { name: 'backup_label', key: /\/backup_label$/ },
  { name: 'tablespace_map', key: /\/tablespace_map$/ },
  { name: 'backup_manifest', key: /\/backup_manifest$/ },
  { name: 'files.jsonl.zst', key: /\/files\.jsonl\.zst$/ },
  { name: 'objects.jsonl.zst', key: /\/objects\.jsonl\.zst$/ },
]

/** Objects without which a restore is the same. */
const NOT_NEEDED = [
  { key: /^README\.txt$/, reason: 'is for people' },
  { key: /^profile\//, reason: 'says how to write' },
  { key: /\/running\//, reason: 'says that a backup is being taken' },
]

/** Where the seek table of an archive begins: it is a copy of what the frames say, for those who read parts of it. */
function endOfFrames(bytes: Buffer): number {
  return bytes.length - (8 + bytes.readUInt32LE(bytes.length - 9) * 8 + 9)
}

/** Of the checksum of the content at the end of each frame. */
const CHECKSUM_BYTES = 4

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 0x40, at)
  return copy
}

/** Those that a listing shows come cheap; the others cost a restore each, which ends where the damage is met. */
function damages(key: string, bytes: Buffer): Record<string, Buffer> {
  const end = /\d\.tar\.zst$/.test(key) ? endOfFrames(bytes) - CHECKSUM_BYTES : bytes.length
  const middle = Math.floor(end / 2)
  return {
    'its first byte is flipped': flipped(bytes, 0),
    ...(key.endsWith('.zst') && { 'a byte of its header is flipped': flipped(bytes, 6) }),
    'a byte in its middle is flipped': flipped(bytes, middle),
    'its last byte is flipped': flipped(bytes, end - 1),
    'it is cut in the middle': bytes.subarray(0, middle),
    'its last byte is missing': bytes.subarray(0, bytes.length - 1),
    'it is empty': Buffer.alloc(0),
    'a byte follows it': Buffer.concat([bytes, Buffer.from('\n')]),
    'it is there twice': Buffer.concat([bytes, bytes]),
  }
}

/** The archive with a pg_control that is valid, of other content, of the same CRC32C; and the object of the same size. */
async function withOtherControl(archive: Buffer): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of decompress(Readable.from([archive]), [new Uint8Array(1 << 20)], 'it')) {
    pieces.push(Buffer.from(piece))
  }
  const tar = Buffer.concat(pieces)
  const control = tar.subarray(512, 512 + 8192)
  const crc = (bytes: Buffer): string => {
    const checksum = createFileChecksum('CRC32C')
    checksum.update(bytes)
    return checksum.digest()
  }
  const before = crc(control)
  let end = 200
  while (crc(control.subarray(0, end)) !== control.toString('hex', end, end + 4)) end += 4
  control.fill(0, end - 32, end) // a random number, which compresses badly
  control.write(crc(control.subarray(0, end)), end, 'hex')
  assert.equal(crc(control), before)
  const compressor = new FrameCompressor({ level: 1 })
  const frame = Buffer.alloc(20_000)
  compressor.begin(tar)
  const body = frame.subarray(0, compressor.drain(frame))
  const table = seekTable(compressor.frames)
  const filler = skippableFrame(Buffer.alloc(archive.length - body.length - table.length - 8))
  return Buffer.concat([body, filler, table])
}

const obstacle = await whyNoCommandLine()

describe('restore from a damaged repository', { skip: obstacle ?? false }, () => {
  let repository: FileRepository

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    const location = `${repository.home}/space`
    mkdirSync(location)
    await giveToServerUser(location)
    await query(cluster, `create tablespace space location '${location}'`)
    await query(cluster, 'create table inside (id int) tablespace space')
    await repository.backUp(cluster)
    await query(cluster, 'create table later as select generate_series(1, 1000) as id')
    await repository.backUp(cluster)
    await using other = await repository.startCluster({ ownInitdb: true })
    await repository.backUp(other)
  })
  after(() => repository.close())

  const options = (): object => {
    const from = repository.backups[0]!.tablespaces[0]!.location
    return { tablespaceMapping: new Map([[from, `${repository.newTarget()}-space`]]) }
  }
  const restore = (): ReturnType<FileRepository['restore']> => repository.restore(options())
  const keyOf = (pattern: RegExp, backup = 0): string => {
    const { id, cluster } = repository.backups[backup]!
    const found = repository.keys().find((key) => {
      return pattern.test(key) && key.startsWith(`${cluster}/`) && (key.includes(id) || key.endsWith('cluster.json'))
    })
    assert.ok(found !== undefined, `an object like ${String(pattern)}`)
    return found
  }

  test('a restore of the undamaged repository succeeds', async () => {
    assert.deepEqual(await restore(), { exitCode: 0, message: '' })
  })

  for (const { name, key: pattern, missing } of NEEDED) {
    test(`restore fails and leaves nothing when ${name} is damaged, whichever way (R5, V3)`, async () => {
      const key = keyOf(pattern)
      for (const [damage, bytes] of Object.entries(damages(key, repository.read(key)))) {
        const { exitCode, message } = await repository.damaged({ [key]: bytes }, restore)
        assert.equal(exitCode, 3, `${damage}: ${message}`)
        assert.ok(message.includes(`"${key}"`), `${damage}: ${message}`)
      }
    })

    test(`restore fails and leaves nothing when ${name} is missing (R2)`, async () => {
      const key = keyOf(pattern)
      const { exitCode, message } = await repository.damaged({ [key]: undefined }, restore)
      assert.equal(exitCode, missing?.exitCode ?? 3, message)
      assert.match(message, missing?.says ?? new RegExp(`"${key}"`))
    })

    test(`restore fails and leaves nothing when ${name} is that of another backup or cluster (V8)`, async () => {
      const key = keyOf(pattern)
      const ours = repository.read(key)
      for (const backup of [1, 2]) {
        if (name === 'tablespace_map' && backup === 2) continue // that cluster has none
        const theirs = repository.read(keyOf(pattern, backup))
        if (theirs.equals(ours)) continue // one cluster.json for all backups of a cluster, and a map that did not change
        const { exitCode, message } = await repository.damaged({ [key]: theirs }, restore)
        assert.equal(exitCode, 3, message)
        assert.ok(message.includes(`"${key}"`), message)
      }
    })
  }

  test('restore fails and leaves nothing when two objects are swapped (V8)', async () => {
    for (const [a, b] of [
      [/00000\.tar\.zst$/, /00001\.tar\.zst$/],
      [/\/backup_label$/, /\/tablespace_map$/],
      [/\/files\.jsonl\.zst$/, /\/objects\.jsonl\.zst$/],
      [/\/cluster\.json$/, /\/backups\//],
    ] as const) {
      const [keyA, keyB] = [keyOf(a), keyOf(b)]
      const swapped = { [keyA]: repository.read(keyB), [keyB]: repository.read(keyA) }
      const { exitCode, message } = await repository.damaged(swapped, restore)
      assert.equal(exitCode, 3, message)
      assert.ok(message.includes(`"${keyA}"`) || message.includes(`"${keyB}"`), message)
    }
  })

  test('restore fails and leaves nothing when WAL that the backup needs is missing (I11)', async () => {
    const { cluster, start } = repository.backups[0]!
    const key = repository
      .keys()
      .find((each) => each.startsWith(`${cluster}/`) && each.endsWith(`/${start.segment}.zst`))
    const { exitCode, message } = await repository.damaged({ [key!]: undefined }, restore)
    assert.equal(exitCode, 3, message)
    assert.match(message, /WAL segment "[^"]+", which the backup needs, is not in the archive/)
  })

  const reasons = NOT_NEEDED.map(({ key, reason }) => `${String(key)}, which ${reason}`).join('; ')
  test(`restore succeeds without ${reasons}`, async () => {
    for (const { key } of NOT_NEEDED) assert.ok(repository.keys().some((each) => key.test(each)))
    const keys = repository.keys().filter((key) => NOT_NEEDED.some((each) => each.key.test(key)))
    const none = Object.fromEntries(keys.map((key) => [key, undefined]))
    assert.deepEqual(await repository.damaged(none, restore), { exitCode: 0, message: '' })
  })

  test('restore fails when pg_control is another valid one, although all of them have one CRC32C (V8)', async () => {
    const key = keyOf(/00001\.tar\.zst$/)
    const ours = repository.read(key)
    const { exitCode, message } = await repository.damaged({ [key]: await withOtherControl(ours) }, restore)
    assert.equal(exitCode, 3, message)
    assert.match(message, new RegExp(`"${key}" is damaged: its SHA-256 is not the recorded one`))
  })

  test('restore does not read the seek table of an archive, whose frames prove themselves, and succeeds', async () => {
    const key = keyOf(/00000\.tar\.zst$/)
    const bytes = repository.read(key)
    const other = flipped(flipped(bytes, endOfFrames(bytes) + 9), bytes.length - 1)
    assert.deepEqual(await repository.damaged({ [key]: other }, restore), { exitCode: 0, message: '' })
  })

  test('restore compares each file with its own checksum, not frames with theirs, and succeeds (R5)', async () => {
    const key = keyOf(/00000\.tar\.zst$/)
    const bytes = repository.read(key)
    const other = flipped(bytes, endOfFrames(bytes) - 1)
    assert.deepEqual(await repository.damaged({ [key]: other }, restore), { exitCode: 0, message: '' })
  })
})
