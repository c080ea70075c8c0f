import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAccessIncludes, parseConfiguration, readConfiguration } from '#src/postgres/configuration-file.js'

const read = (files: Readonly<Record<string, string>>): Promise<[string, string][]> =>
  readConfiguration('/data/postgresql.conf', files['/data/postgresql.conf'] ?? '', {
    read: (path) => Promise.resolve(files[path]),
    list: (path) => {
      const inside = Object.keys(files).filter((file) => file.startsWith(`${path}/`))
      return Promise.resolve(inside.map((file) => file.slice(path.length + 1)))
    },
  })

const LINES: readonly [line: string, found: [string, string] | undefined][] = [
  ['work_mem = 4MB', ['work_mem', '4MB']],
  ["  Work_Mem='4MB' # comment", ['work_mem', '4MB']],
  ["work_mem '4MB'", ['work_mem', '4MB']],
  ['work_mem 4MB', ['work_mem', '4MB']],
  ["name = 'it''s'", ['name', "it's"]],
  [String.raw`name = 'a\'b\\c\n\101'`, ['name', "a'b\\c\nA"]],
  ["cron.database_name = 'x'", ['cron.database_name', 'x']],
  ["name = ''", ['name', '']],
  ["work_mem'4MB'", ['work_mem', '4MB']],
  ['work_mem4MB', undefined],
  ['#work_mem = 4MB', undefined],
  ['', undefined],
  ["name = 'not closed", undefined],
]
for (const [line, found] of LINES) {
  test(`the line ${JSON.stringify(line)} is read as the server reads it`, async () => {
    assert.deepEqual(await read({ '/data/postgresql.conf': `${line}\r\n` }), found ? [found] : [])
  })
}

test('files are included where they are named, in order, and what is not there is passed over', async () => {
  const files = {
    '/data/postgresql.conf': "a = 1\ninclude 'more.conf'\ninclude_if_exists = 'missing'\ninclude_dir 'conf.d'\na = 9\n",
    '/data/more.conf': 'a = 2\ninclude /etc/else.conf\n',
    '/etc/else.conf': 'a = 3\n',
    '/data/conf.d/b.conf': 'a = 5\n',
    '/data/conf.d/a.conf': 'a = 4\n',
    '/data/conf.d/.hidden.conf': 'a = 6\n',
    '/data/conf.d/readme': 'a = 7\n',
  }
  assert.deepEqual(
    (await read(files)).map(([, value]) => value),
    ['1', '2', '3', '4', '5', '9'],
  )
})

test('a file that includes itself ends somewhere', async () => {
  const found = await read({ '/data/postgresql.conf': "a = 1\ninclude 'postgresql.conf'\n" })
  assert.equal(found.length, 11)
})

test('lines are counted from 1, whatever stands between them', () => {
  assert.deepEqual(parseConfiguration("# a\n\nb = 1\n'\ninclude_dir 'conf.d'"), [
    { line: 3, name: 'b', value: '1' },
    { line: 5, name: 'include_dir', value: 'conf.d' },
  ])
})

const ACCESS: readonly [line: string, included: [name: string, value: string][]][] = [
  ['local all all trust', []],
  ['include more.hba', [['include', 'more.hba']]],
  ['  include_if_exists "with blank.hba" # comment', [['include_if_exists', 'with blank.hba']]],
  ['include_dir hba.d', [['include_dir', 'hba.d']]],
  ['# include more.hba', []],
  [
    'local @databases,+role @"all people" reject # @nobody',
    [
      ['include', 'databases'],
      ['include', 'all people'],
    ],
  ],
  ['host all me@example.org all reject', []],
]
for (const [line, included] of ACCESS) {
  test(`the access line ${JSON.stringify(line)} includes what the server reads for it`, () => {
    assert.deepEqual(
      parseAccessIncludes(`\n${line}\n`).map(({ line: at, name, value }) => [at, name, value]),
      included.map(([name, value]) => [2, name, value]),
    )
  })
}
