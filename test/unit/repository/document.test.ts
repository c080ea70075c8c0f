import { ToolError, type ErrorCode } from '#src/errors.js'
import { documentHead, formatDocument, readDocument, readSmall } from '#src/repository/document.js'
import type { Storage } from '#src/storage/storage.js'
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'

const text = formatDocument({ ...documentHead(), name: 'größe', nested: { a: [1, 2] } })

function parse(document: string): ReturnType<typeof readDocument> {
  const storage = { get: () => Promise.resolve(Readable.from([Buffer.from(document)])) }
  return readDocument(storage as unknown as Storage, 'key')
}

function withChecksum(open: string): string {
  return `${open}"checksum": "${createHash('sha256').update(open).digest('hex')}"\n}\n`
}

test('formatDocument() writes JSON whose last member is the SHA-256 of all bytes before it', () => {
  const { checksum, ...rest } = JSON.parse(text) as { checksum: string }
  assert.deepEqual(rest, { formatVersion: '1.0', requires: [], name: 'größe', nested: { a: [1, 2] } })
  assert.equal(
    checksum,
    createHash('sha256')
      .update(text.slice(0, text.indexOf('"checksum"')))
      .digest('hex'),
  )
  assert.ok(text.endsWith(`"checksum": "${checksum}"\n}\n`))
})

test('readDocument() keeps members that it does not know (format rule 8)', async () => {
  assert.deepEqual((await parse(text))['nested'], { a: [1, 2] })
  const newer = formatDocument({ formatVersion: '1.42', requires: [], unheard: 'of' })
  assert.equal((await parse(newer))['unheard'], 'of')
})

test('readDocument() rejects a document that is changed or cut anywhere', async () => {
  for (let at = 0; at < text.length; at++) {
    const changed = text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1)
    await assert.rejects(parse(changed), /"key" is damaged/, `byte ${at} changed`)
    await assert.rejects(parse(text.slice(0, at)), /"key" is damaged/, `cut at ${at}`)
  }
})

for (const [what, document, code, says] of [
  ['nothing', '', 'damaged', /does not end with its checksum/],
  ['another document behind it', text + text.slice(0, 5), 'damaged', /does not end with its checksum/],
  ['no JSON', withChecksum('{ name: x, '), 'damaged', /JSON/],
  ['a newer major version', formatDocument({ formatVersion: '2.0', requires: [] }), 'configuration', /version 2\.0/],
  ['no version', formatDocument({ requires: [] }), 'configuration', /version undefined/],
  [
    'a feature that is unknown',
    formatDocument({ formatVersion: '1.0', requires: ['x'] }),
    'configuration',
    /features.*x/,
  ],
  ['no list of features', formatDocument({ formatVersion: '1.0' }), 'configuration', /requires features/],
] as const satisfies [string, string, ErrorCode, RegExp][]) {
  test(`readDocument() rejects ${what} as ${code}`, async () => {
    await assert.rejects(
      parse(document),
      (error) =>
        error instanceof ToolError &&
        error.code === code &&
        says.test(error.message) &&
        error.message.includes('"key"'),
    )
  })
}

test('readSmall() refuses what is far larger than any of our documents', async () => {
  const chunk = Buffer.alloc(1024 * 1024)
  const endless = {
    get: () =>
      Promise.resolve(
        Readable.from(
          (function* () {
            for (;;) yield chunk
          })(),
        ),
      ),
  }
  await assert.rejects(readSmall(endless as unknown as Storage, 'key'), /"key" is far larger than it can be/)
})
