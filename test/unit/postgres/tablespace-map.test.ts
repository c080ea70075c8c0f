import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatTablespaceMap, parseTablespaceMap } from '#src/postgres/tablespace-map.js'

const MAJORS = [13, 14, 18]

test('each major’s escapes', () => {
  const cases: [major: number, location: string, line: string][] = [
    [13, '/srv/fast', '16401 /srv/fast\n'],
    [13, '/a b', '16401 /a b\n'],
    [13, '/a\nb\rc', '16401 /a\\\nb\\\rc\n'],
    [13, '/a\\b', '16401 /a\\b\n'],
    [14, '/srv/fast', '16401 /srv/fast\n'],
    [14, '/a\nb\rc', '16401 /a\\\nb\\\rc\n'],
    [14, '/a\\b', '16401 /a\\\\b\n'],
    [18, '/a\\\nb', '16401 /a\\\\\\\nb\n'],
    [18, ' /a', '16401  /a\n'],
  ]
  for (const [major, location, line] of cases) {
    const entries = [{ oid: 16401, location: Buffer.from(location) }]
    assert.equal(formatTablespaceMap(entries, major).toString(), line)
    assert.deepEqual(parseTablespaceMap(Buffer.from(line), major), entries)
  }
})

test('locations are bytes, in any order and number', () => {
  const entries = [
    { oid: 4294967295, location: Buffer.from([0x2f, 0xff, 0xfe, 0x3d]) },
    { oid: 1, location: Buffer.from('/größe') },
  ]
  for (const major of MAJORS) {
    assert.deepEqual(parseTablespaceMap(formatTablespaceMap(entries, major), major), entries)
    assert.equal(formatTablespaceMap([], major).length, 0)
    assert.deepEqual(parseTablespaceMap(Buffer.alloc(0), major), [])
  }
})

test('since PostgreSQL 14 any location survives', () => {
  const pieces = ['\\', '\n', '\r', ' ', 'a', '/']
  for (let number = 0; number < 6 ** 4; number++) {
    const tail = [0, 1, 2, 3].map((digit) => pieces[Math.floor(number / 6 ** digit) % 6]).join('')
    const entries = [
      { oid: 1, location: Buffer.from(`/${tail}`) },
      { oid: 2, location: Buffer.from('/b') },
    ]
    assert.deepEqual(parseTablespaceMap(formatTablespaceMap(entries, 14), 14), entries)
  }
})

test('formatTablespaceMap() refuses what PostgreSQL 13 cannot read back', () => {
  for (const location of [' /a', '/a\\']) {
    const entries = [{ oid: 16401, location: Buffer.from(location) }]
    assert.throws(() => formatTablespaceMap(entries, 13), { code: 'refused' }, JSON.stringify(location))
    formatTablespaceMap(entries, 14)
  }
})

test('parseTablespaceMap() tolerates CRLF and refuses damage', () => {
  for (const major of MAJORS) {
    const crlf = parseTablespaceMap(Buffer.from('1 /a\r\n2 /b\r\n'), major)
    assert.deepEqual(
      crlf.map(({ oid }) => oid),
      [1, 2],
    )
    for (const text of ['1 /a', 'x /a\n', '0 /a\n', '1\n', '1 \n', '4294967296 /a\n', '1 /a\\\n']) {
      assert.throws(() => parseTablespaceMap(Buffer.from(text), major), { code: 'damaged' }, JSON.stringify(text))
    }
  }
})
