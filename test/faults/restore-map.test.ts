/** Tablespaces that came or went while the backup began: the record, the index and tablespace_map do not agree (S9, T3). */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs'
import path from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { formatDocument } from '#src/repository/document.js'
import { compressStream } from '#src/streams/zstd-stream.js'
import { decompress } from '#src/streams/zstd-decompress.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository } from '../support/file-repository.js'
import { query } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

async function joined(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const copies: Buffer[] = []
  for await (const piece of pieces) copies.push(Buffer.from(piece))
  return Buffer.concat(copies)
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

describe('restore with a tablespace_map that does not name the same tablespaces', { skip: obstacle ?? false }, () => {
  let repository: FileRepository
  let location: string

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    location = path.join(repository.home, 'space')
    mkdirSync(location)
    await giveToServerUser(location)
    await query(cluster, `create tablespace space location '${location}'`)
    await query(cluster, 'create table inside (id int) tablespace space')
    await repository.backUp(cluster)
  })
  after(() => repository.close())

  /** Restores with another map, or none; all hashes are right. */
  async function restoreWith(map: Buffer | undefined) {
    const record = repository.backups[0]!
    const { oid } = record.tablespaces[0]!
    const prefix = `${record.cluster}/base/${record.id}/`
    const [indexKey, mapKey] = [`${prefix}objects.jsonl.zst`, `${prefix}tablespace_map`]
    const recordKey = `${record.cluster}/backups/${record.id}.json`
    const text = await joined(decompress(Readable.from([repository.read(indexKey)]), [new Uint8Array(1 << 20)], 'it'))
    const lines = text.toString().trimEnd().split('\n')
    const edited = lines.flatMap((line) => {
      const object = JSON.parse(line) as { name?: string }
      if (object.name !== 'tablespace_map') return [line]
      return map ? [JSON.stringify({ ...object, size: map.length, sha256: sha256(map) })] : []
    })
    const index = await joined(compressStream([Buffer.from(`${edited.join('\n')}\n`)], { level: 3 }))
    const { checksum: _, ...head } = JSON.parse(repository.read(recordKey).toString()) as typeof record & {
      checksum: string
    }
    const forged = Buffer.from(formatDocument({ ...head, objects: { ...head.objects, sha256: sha256(index) } }))
    const targetDirectory = repository.newTarget()
    const space = `${targetDirectory}-space`
    const warnings: string[] = []
    const changes = { [indexKey]: index, [mapKey]: map, [recordKey]: forged }
    const ended = await repository.damaged(changes, () =>
      repository.restore({ targetDirectory, tablespaceMapping: new Map([[location, space]]) }, (event) => {
        if (event.type === 'warning') warnings.push(event.message)
      }),
    )
    assert.deepEqual(ended, { exitCode: 0, message: '' })
    assert.equal(readlinkSync(path.join(targetDirectory, `pg_tblspc/${oid}`)), space)
    const written = path.join(targetDirectory, 'tablespace_map')
    return { oid, space, warnings, map: existsSync(written) ? readFileSync(written, 'utf8') : undefined }
  }

  test('keeps the link of a tablespace that was made after the start, when there is no map (S9)', async () => {
    const { map, warnings, oid } = await restoreWith(undefined)
    assert.equal(map, undefined)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0]!, new RegExp(`the tablespace ${oid} was created after the backup began`))
  })

  test('drops the entry of a tablespace that the backup does not have: it would be a link to the original (T3)', async () => {
    const { oid } = repository.backups[0]!.tablespaces[0]!
    const { map, warnings, space } = await restoreWith(Buffer.from(`${oid} ${location}\n99999 /production\n`))
    assert.equal(map, `${oid} ${space}\n`)
    assert.deepEqual(warnings, [])
  })
})
