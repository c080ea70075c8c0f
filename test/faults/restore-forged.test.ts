/**
 * Restores from a repository whose indexes and record are sound by their checksums, and say what they must not: whoever
 * can write to the bucket can forge them, and an older program meets what a newer one wrote (R4, format rule 8).
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { BackupRecord } from '#src/repository/backup-record.js'
import { formatDocument } from '#src/repository/document.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository, type RestoreEnd } from '../support/file-repository.js'
import { bytesOf, linesOf, sha256, type Line } from '../support/index-lines.js'

function isFile(line: Line, name = 'PG_VERSION'): boolean {
  return line['type'] === 'file' && line['path'] === name
}

/** Changes the line of a file that every cluster has. */
function changed(change: Line): (lines: Line[]) => Line[] {
  return (lines) => lines.map((line) => (isFile(line) ? { ...line, ...change } : line))
}

const obstacle = await whyNoCommandLine()

describe('restore of a backup that was forged', { skip: obstacle ?? false }, () => {
  let repository: FileRepository
  let record: BackupRecord

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    record = await repository.backUp(cluster)
  })
  after(() => repository.close())

  const prefix = (): string => `${record.cluster}/base/${record.id}/`
  const recordKey = (): string => `${record.cluster}/backups/${record.id}.json`

  /** Restores with another index of files; every hash above it is right. */
  async function restoreForged(edit: (lines: Line[]) => Line[], options: object = {}): Promise<RestoreEnd> {
    const [filesKey, objectsKey] = [`${prefix()}files.jsonl.zst`, `${prefix()}objects.jsonl.zst`]
    const lines = edit(await linesOf(repository.read(filesKey)))
    const files = await bytesOf(lines)
    const objects = await bytesOf(
      (await linesOf(repository.read(objectsKey))).map((line) =>
        line['name'] === 'files.jsonl.zst' ? { ...line, size: files.length, sha256: sha256(files) } : line,
      ),
    )
    const { checksum: _, ...head } = JSON.parse(repository.read(recordKey()).toString()) as BackupRecord & {
      checksum: string
    }
    const forged = formatDocument({
      ...head,
      files: { sha256: sha256(files), count: lines.length },
      objects: { ...head.objects, sha256: sha256(objects) },
      ...options,
    })
    const changes = { [filesKey]: files, [objectsKey]: objects, [recordKey()]: Buffer.from(forged) }
    return repository.damaged(changes, () => repository.restore())
  }

  test('the forgery itself is sound: with nothing changed it restores', async () => {
    assert.deepEqual(await restoreForged((lines) => lines), { exitCode: 0, message: '' })
  })

  const escapes: Record<string, Line> = {
    'leads up': { path: '../outside' },
    'leads up in the middle': { path: 'base/../../outside' },
    'is absolute': { path: '/outside' },
    'holds a NUL': { path: 'PG_VERSION\0x' },
    'is empty': { path: '' },
    'is a dot': { path: './PG_VERSION' },
    'leads up in hex': { path: undefined, pathHex: Buffer.from('../outside').toString('hex') },
  }
  for (const [name, change] of Object.entries(escapes)) {
    test(`restore refuses a path that ${name}, and writes nothing (R4)`, async () => {
      const { exitCode, message } = await restoreForged(changed(change))
      assert.equal(exitCode, 3, message)
      assert.match(message, /files\.jsonl\.zst" names the path ".*", which is not inside the data directory/)
      assert.ok(!existsSync(path.join(repository.home, 'outside')))
    })
  }

  const lies: Record<string, { edit: (lines: Line[]) => Line[]; says: RegExp }> = {
    'names a file twice': {
      edit: (lines) => lines.flatMap((line) => (isFile(line) ? [line, line] : [line])),
      says: /PG_VERSION/,
    },
    'names a directory twice': {
      edit: (lines) => lines.flatMap((line) => (line['path'] === 'base' ? [line, line] : [line])),
      says: /EEXIST|base/,
    },
    'names no pg_control': {
      edit: (lines) => lines.filter((line) => !isFile(line, 'global/pg_control')),
      says: /lists global\/pg_control 0 times/,
    },
    'names an archive that is not there': { edit: changed({ archive: 77 }), says: /00077\.tar\.zst/ },
    'names an offset beyond the archive': { edit: changed({ offset: 2 ** 40 }), says: /00000\.tar\.zst.*damaged/ },
    'names an offset inside another file': { edit: changed({ offset: 512 * 40 }), says: /00000\.tar\.zst.*damaged/ },
    'names another size': { edit: changed({ size: 4 }), says: /"PG_VERSION" in "[^"]+" is damaged/ },
    'names another checksum': { edit: changed({ checksum: '00000000' }), says: /CRC32C is \w+ instead of 00000000/ },
    'makes a link of a directory': {
      edit: (lines) =>
        lines.map((line) => (line['path'] === 'base' ? { ...line, type: 'tablespace', oid: 1, location: '/x' } : line)),
      says: /base/,
    },
  }
  for (const [name, { edit, says }] of Object.entries(lies)) {
    test(`restore fails and leaves nothing when the index ${name} (R4, R5)`, async () => {
      const location = path.join(repository.home, 'elsewhere')
      const tablespaces = name.startsWith('makes a link') ? { tablespaces: [{ oid: 1, location }] } : {}
      const { exitCode, message } = await restoreForged(edit, tablespaces)
      assert.equal(exitCode, 3, message)
      assert.match(message, says)
      assert.ok(!existsSync(location))
    })
  }

  test('restore gives no file the setuid bit (F10)', async () => {
    let mode = 0
    const target = repository.newTarget()
    const { exitCode, message } = await restoreForged(changed({ mode: '6755' }))
    assert.equal(exitCode, 0, message)
    assert.ok(!existsSync(target))
    const { parseMode } = await import('#src/repository/files-index.js')
    mode = parseMode('6755')
    assert.equal(mode, 0o755)
  })

  for (const name of ['global/pg_control.pgsluice-restore', 'backup_label', 'backup_manifest', 'recovery.signal']) {
    test(`restore does not write through a link that somebody plants as ${name} meanwhile (R4)`, async () => {
      const victim = path.join(repository.home, 'victim')
      writeFileSync(victim, 'precious')
      const targetDirectory = repository.newTarget()
      let archives = 0
      const last = name.startsWith('global') ? 1 : 2
      const { exitCode, message } = await repository.restore({ targetDirectory }, ({ type }) => {
        if (type !== 'archive-extracted' || ++archives !== last) return
        symlinkSync(victim, path.join(targetDirectory, name))
      })
      assert.equal(readFileSync(victim, 'utf8'), 'precious')
      assert.equal(exitCode, 3, message)
      assert.ok(message.includes(name), message)
      assert.ok(!existsSync(targetDirectory))
    })
  }

  const rewritten = (change: object): Buffer => {
    const { checksum: _, ...head } = JSON.parse(repository.read(recordKey()).toString()) as Record<string, unknown>
    return Buffer.from(formatDocument({ ...head, ...change }))
  }
  const versions = [
    {
      name: 'of a newer major version',
      change: { formatVersion: '2.0' },
      says: /has format version 2\.0; this program/,
    },
    { name: 'without a version', change: { formatVersion: undefined }, says: /has format version undefined/ },
    { name: 'that requires what is unknown here', change: { requires: ['encryption'] }, says: /requires .*encryption/ },
  ]
  for (const { name, change, says } of versions) {
    test(`restore refuses a record ${name}, and says to use a newer pgsluice (format rule 8)`, async () => {
      const restored = await repository.damaged({ [recordKey()]: rewritten(change) }, () => repository.restore())
      assert.equal(restored.exitCode, 2, restored.message)
      assert.match(restored.message, says)
      assert.match(restored.message, /HINT: A newer pgsluice wrote it/)
    })
  }

  test('restore takes a record of a newer minor version with members it does not know (format rule 8)', async () => {
    const change = { formatVersion: '1.99', colour: 'green', totals: { ...record.totals, unheardOf: 1 } }
    const restored = await repository.damaged({ [recordKey()]: rewritten(change) }, () => repository.restore())
    assert.deepEqual(restored, { exitCode: 0, message: '' })
  })
})
