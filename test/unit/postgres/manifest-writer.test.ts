import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManifestWriter } from '#src/postgres/manifest-writer.js'
import { parseManifest } from '#src/postgres/manifest.js'

const RANGE = { timeline: 1, startLsn: 0x200_0028n, endLsn: 0x200_0158n }

test('ManifestWriter writes version 2 as backup_manifest.c does', () => {
  const writer = new ManifestWriter({ version: 2, systemIdentifier: 7711101818810129140n })
  const text =
    writer.start() +
    writer.file({
      path: Buffer.from('base/5/1259'),
      size: 114688,
      mtimeMs: Date.UTC(2026, 2, 1, 2, 0, 0) + 999.9,
      checksum: { algorithm: 'CRC32C', hex: '839206e3' },
    }) +
    writer.file({ path: Buffer.from('postgresql.conf'), size: 0, mtimeMs: 0 }) +
    writer.finish([{ ...RANGE, timeline: 2 }, RANGE])
  const expected = `{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 7711101818810129140,
"Files": [
{ "Path": "base/5/1259", "Size": 114688, "Last-Modified": "2026-03-01 02:00:00 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "839206e3" },
{ "Path": "postgresql.conf", "Size": 0, "Last-Modified": "1970-01-01 00:00:00 GMT" }
],
"WAL-Ranges": [
{ "Timeline": 2, "Start-LSN": "0/2000028", "End-LSN": "0/2000158" },
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000158" }
],
`
  assert.equal(text.slice(0, expected.length), expected)
  assert.match(text.slice(expected.length), /^"Manifest-Checksum": "[0-9a-f]{64}"\}\n$/)
  assert.equal(parseManifest(text).files.length, 2)
})

test('ManifestWriter writes version 1 without the system identifier', () => {
  const writer = new ManifestWriter({ version: 1, systemIdentifier: 1n })
  const text = writer.start() + writer.finish([RANGE])
  assert.ok(text.startsWith('{ "PostgreSQL-Backup-Manifest-Version": 1,\n"Files": [\n],\n"WAL-Ranges": [\n'))
  assert.deepEqual(parseManifest(text), { version: 1, files: [], walRanges: [RANGE] })
  assert.throws(() => new ManifestWriter({ version: 2 }), TypeError)
})

test('any name survives: quotes, control characters, bytes that are no UTF-8', () => {
  const paths = [
    Buffer.from('a"b\\c/d\n\t\r\b\f\u0001\u007f'),
    Buffer.from('größe 日本 👍 \u2028'),
    Buffer.from([0x61, 0xff, 0xfe]),
    Buffer.from([0xed, 0xa0, 0x80]), // half of a surrogate pair
    Buffer.from('"Manifest-Checksum": "x"}\n'),
  ]
  const writer = new ManifestWriter({ version: 2, systemIdentifier: 2n ** 64n - 1n })
  let text = writer.start()
  for (const path of paths) text += writer.file({ path, size: 2 ** 40, mtimeMs: -1 })
  text += writer.finish([RANGE])
  const manifest = parseManifest(text)
  assert.deepEqual(
    manifest.files.map(({ path }) => path),
    paths,
  )
  assert.equal(manifest.systemIdentifier, 2n ** 64n - 1n)
  assert.equal(manifest.files[0]?.lastModified, '1969-12-31 23:59:59 GMT')
  assert.equal(text.match(/Encoded-Path/g)?.length, 2)
})
