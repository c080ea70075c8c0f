import { describeError, exitCodeOf, type ExitRules } from '#src/cli/exit.js'
import { formatBytes, formatSeconds, formatTime } from '#src/cli/format.js'
import { parseTablespaceMapping, settingFlags } from '#src/cli/options.js'
import { InterruptedError } from '#src/cli/signals.js'
import { EXIT_CODES, ExistsError, NotFoundError, ToolError, type ErrorCode } from '#src/errors.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

/** Exit codes as they are promised (product.md), with what PostgreSQL makes of them (A6, G1). */
const codes: Record<ErrorCode, { ordinary: number; push: number; fetch: number }> = {
  'answer-no': { ordinary: 1, push: 1, fetch: 200 },
  usage: { ordinary: 2, push: 2, fetch: 200 },
  configuration: { ordinary: 2, push: 2, fetch: 200 },
  storage: { ordinary: 3, push: 3, fetch: 200 },
  database: { ordinary: 3, push: 3, fetch: 200 },
  'file-system': { ordinary: 3, push: 3, fetch: 200 },
  damaged: { ordinary: 3, push: 3, fetch: 200 },
  'wal-missing': { ordinary: 3, push: 3, fetch: 200 },
  refused: { ordinary: 4, push: 4, fetch: 200 },
  conflict: { ordinary: 4, push: 4, fetch: 200 },
  interrupted: { ordinary: 130, push: 3, fetch: 200 },
  'not-in-archive': { ordinary: 44, push: 44, fetch: 44 },
}
for (const [code, { ordinary, push, fetch }] of Object.entries(codes) as [ErrorCode, (typeof codes)[ErrorCode]][]) {
  test(`an error "${code}" ends with ${ordinary}, wal push with ${push}, wal fetch with ${fetch}`, () => {
    const error = new ToolError(code, 'it')
    assert.deepEqual(
      (['ordinary', 'wal-push', 'wal-fetch'] as const).map((rules) => exitCodeOf(error, rules)),
      [ordinary, push, fetch],
    )
    assert.equal(EXIT_CODES[code].exit, ordinary)
    assert.notEqual(EXIT_CODES[code].meaning, '')
  })
}

for (const [what, error, expected] of [
  ['a bug', new TypeError('x'), [70, 3, 200]],
  ['what is no error', 'text', [70, 3, 200]],
  ['SIGINT', new InterruptedError('SIGINT'), [130, 3, 200]],
  ['SIGTERM', new InterruptedError('SIGTERM'), [143, 3, 143]],
  ['SIGHUP', new InterruptedError('SIGHUP'), [129, 3, 200]],
  ['a missing object', new NotFoundError('key'), [3, 3, 200]],
  ['an object in the way', new ExistsError('key'), [4, 4, 200]],
] as const) {
  test(`${what} ends with ${expected.join(', ')} (ordinary, wal push, wal fetch)`, () => {
    const rules: ExitRules[] = ['ordinary', 'wal-push', 'wal-fetch']
    assert.deepEqual(
      rules.map((each) => exitCodeOf(error, each)),
      expected,
    )
  })
}

test('describeError() prints the message, each cause that adds something, and the nearest hint', () => {
  const deep = new ToolError('storage', 'could not read "x"', {
    hint: 'Look at the bucket.',
    cause: new Error('ECONNRESET'),
  })
  const error = new ToolError('damaged', 'could not restore: could not read "x"', { cause: deep })
  assert.equal(
    describeError(error),
    'could not restore: could not read "x"\ncaused by: ECONNRESET\nHINT: Look at the bucket.',
  )
  assert.equal(describeError(new ToolError('usage', 'wrong')), 'wrong')
})

test('describeError() prints the stack of a bug, and ends for causes in a circle', () => {
  assert.match(describeError(new TypeError('oops')), /^unexpected error, please report it: TypeError: oops\n\s+at /)
  const error: Error & { cause?: unknown } = new ToolError('storage', 'round')
  error.cause = error
  assert.equal(describeError(error), 'round')
})

for (const [text, expected] of [
  ['/a=/b', ['/a', '/b']],
  ['/with\\=sign=/b', ['/with=sign', '/b']],
  ['/back\\slash=/b', ['/back\\slash', '/b']],
  ['/a b=/c d', ['/a b', '/c d']],
] as const) {
  test(`parseTablespaceMapping() of ${text} is ${expected.join(' to ')}`, () => {
    assert.deepEqual(parseTablespaceMapping(text), expected)
  })
}
for (const text of ['', '=', '/a', '/a=', '=/b', 'a=/b', '/a=b', '/a=/b=/c', '/a\\']) {
  test(`parseTablespaceMapping() refuses "${text}", and repeats it`, () => {
    assert.throws(
      () => parseTablespaceMapping(text),
      (error) => error instanceof ToolError && error.code === 'usage' && error.message.includes(`"${text}"`),
    )
  })
}

test('settingFlags() names settings as they are named, and leaves the rest', () => {
  const options = { pathStyle: 'true', jobs: '4', json: true, tablespaceMapping: [] }
  assert.deepEqual(settingFlags(options), { 'path-style': 'true', jobs: '4' })
})

for (const [bytes, text] of [
  [0, '0 B'],
  [512, '512 B'],
  [1024, '1.00 KiB'],
  [1_500_000, '1.43 MiB'],
  [20 * 2 ** 30, '20.0 GiB'],
  [2 ** 60, '1024.0 PiB'],
] as const) {
  test(`formatBytes() of ${bytes} is ${text}`, () => {
    assert.equal(formatBytes(bytes), text)
  })
}
for (const [seconds, text] of [
  [0, '0.0 s'],
  [9.94, '9.9 s'],
  [42.4, '42 s'],
  [185, '3 min 5 s'],
  [7800, '2 h 10 min'],
] as const) {
  test(`formatSeconds() of ${seconds} is ${text}`, () => {
    assert.equal(formatSeconds(seconds), text)
  })
}
test('formatTime() is in UTC and says so', () => {
  assert.equal(formatTime('2026-11-22T18:45:01.123Z'), '2026-11-22 18:45:01 UTC')
})
