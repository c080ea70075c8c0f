import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { parseManifest } from '#src/postgres/manifest.js'

/** A manifest around `body`, with the checksum that belongs to it. */
function sealed(body: string): string {
  return `${body}"Manifest-Checksum": "${createHash('sha256').update(body).digest('hex')}"}\n`
}

const HEAD = '{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": 7711101818810129140,\n'
const FILES = '"Files": [\n{ "Path": "a", "Size": 1, "Last-Modified": "2026-03-01 02:00:00 GMT" }\n],\n'
const RANGES = '"WAL-Ranges": [\n{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000158" }\n],\n'

test('parseManifest() reads a manifest, given as text or bytes', () => {
  const text = sealed(HEAD + FILES + RANGES)
  for (const input of [text, Buffer.from(text)]) {
    assert.deepEqual(parseManifest(input), {
      version: 2,
      systemIdentifier: 7711101818810129140n,
      files: [{ path: Buffer.from('a'), size: 1, lastModified: '2026-03-01 02:00:00 GMT' }],
      walRanges: [{ timeline: 1, startLsn: 0x200_0028n, endLsn: 0x200_0158n }],
    })
  }
})

test('parseManifest() notices every changed, lost or added byte', () => {
  const bytes = Buffer.from(sealed(HEAD + FILES + RANGES))
  for (let offset = 0; offset < bytes.length; offset++) {
    const changed = Buffer.from(bytes)
    changed[offset] = (changed[offset] ?? 0) ^ 1
    assert.throws(() => parseManifest(changed), { code: 'damaged' }, `byte ${offset}`)
    assert.throws(() => parseManifest(bytes.subarray(0, offset)), { code: 'damaged' })
  }
  assert.throws(() => parseManifest(Buffer.concat([bytes, Buffer.from('\n')])), { code: 'damaged' })
})

test('parseManifest() refuses what has a right checksum and is no manifest', () => {
  const cases: [string, RegExp][] = [
    ['[\n', /JSON/],
    [`${HEAD}"Files": {},\n${RANGES}`, /"Files" is not a list/],
    [HEAD + FILES, /"WAL-Ranges" is not a list/],
    [HEAD.replace(/"System.*\n/, '') + FILES + RANGES, /"System-Identifier" is missing/],
    [HEAD + FILES.replace('"a"', '1') + RANGES, /"Path" is not a text/],
    [HEAD + FILES.replace('"Path": "a"', '"Encoded-Path": "f"') + RANGES, /not hexadecimal/],
    [HEAD + FILES.replace('"Size": 1', '"Size": -1') + RANGES, /"Size" is not a number/],
    [HEAD + FILES + RANGES.replace('0/2000028', 'x'), /invalid LSN "x"/],
  ]
  for (const [body, message] of cases) assert.throws(() => parseManifest(sealed(body)), { code: 'damaged', message })
})
