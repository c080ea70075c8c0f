import { fileLine, formatMode, pathField } from '#src/repository/files-index.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const FILE = {
  size: 2 ** 40,
  mode: formatMode(0o600),
  uid: 70,
  gid: 4_000_000_000,
  mtime: new Date(1_700_000_000_123.4).toISOString(),
  archive: 12,
  offset: 2 ** 41 + 512,
  checksum: '0123abcd',
}

for (const [what, path] of [
  ['an ordinary path', Buffer.from('base/5/16384.1')],
  ['quotes, a backslash and control characters', Buffer.from('a "b" \\ c\n\u0001\u007f')],
  ['more than ASCII', Buffer.from('größe/日本/\u{1f418}\u2028')],
  ['bytes that are no UTF-8', Buffer.from('a\xff"', 'latin1')],
] as const) {
  for (const padded of [false, true]) {
    test(`fileLine() of ${what}${padded ? ', padded' : ''} is the text that JSON.stringify() makes of the line`, () => {
      const line = { type: 'file', ...pathField(path), ...FILE, ...(padded && { padded: true }) }
      assert.equal(fileLine({ ...FILE, path, padded }), JSON.stringify(line))
    })
  }
}
