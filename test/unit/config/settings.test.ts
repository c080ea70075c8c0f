import { parseConfigFile } from '#src/config/config-file.js'
import { parseDuration, parseRate, parseSize } from '#src/config/quantities.js'
import { planResources } from '#src/config/resources.js'
import { DEFAULT_MEMORY_BYTES, makeSettings, parseSetting, SETTINGS, type SettingName } from '#src/config/settings.js'
import { ToolError } from '#src/errors.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const MIB = 1024 * 1024

for (const [text, bytes] of [
  ['0', 0],
  ['4096', 4096],
  ['1 GB', 1e9],
  ['128MiB', 128 * MIB],
  ['1.5KiB', 1536],
  [' 2kB ', 2000],
  ['10B', 10],
  ['', undefined],
  ['1 mib', undefined],
  ['-1MiB', undefined],
  ['1e3', undefined],
  ['1,5MB', undefined],
  ['MiB', undefined],
  ['1  MiB', undefined],
  ['constructor', undefined],
  ['1 constructor', undefined],
] as const) {
  test(`parseSize() of "${text}" is ${bytes}`, () => {
    assert.equal(parseSize(text), bytes)
  })
}

for (const [text, bytes] of [
  ['50MB/s', 50e6],
  ['1.5 MiB / s', 1.5 * MIB],
  ['50MB', undefined],
  ['50MB/min', undefined],
  ['50Mbit/s', undefined],
  ['/s', undefined],
] as const) {
  test(`parseRate() of "${text}" is ${bytes}`, () => {
    assert.equal(parseRate(text), bytes)
  })
}

for (const wrong of ['0B/s', '63kB/s', '50MB', 'None', 50e6]) {
  test(`the setting "max-rate" refuses ${JSON.stringify(wrong)}: a rate has its unit, and one below 64kB/s moves nothing`, () => {
    assert.deepEqual(parseSetting('max-rate', wrong), {
      problem: 'expected a rate of at least 64kB/s, such as 50MB/s or 100MiB/s, or none',
    })
  })
}

for (const [text, ms] of [
  ['500ms', 500],
  ['30s', 30_000],
  ['10min', 600_000],
  ['1.5 h', 5_400_000],
  ['2d', 172_800_000],
  ['30', undefined],
  ['1m', undefined],
  ['-1s', undefined],
  ['1h30min', undefined],
] as const) {
  test(`parseDuration() of "${text}" is ${ms}`, () => {
    assert.equal(parseDuration(text), ms)
  })
}

const right: Record<SettingName, [value: unknown, parsed: unknown][]> = {
  repository: [['s3://bucket/x', 's3://bucket/x']],
  cluster: [['main', 'main']],
  'fetch-ahead': [['8', 8]],
  'retry-time': [['5min', 300_000]],
  'push-ahead': [
    ['0', 0],
    [1000, 1000],
  ],
  endpoint: [['http://localhost:9000', 'http://localhost:9000']],
  region: [['eu-central-1', 'eu-central-1']],
  profile: [['default', 'default']],
  'path-style': [
    ['true', true],
    [false, false],
  ],
  'request-timeout': [['60s', 60_000]],
  'max-attempts': [
    ['1', 1],
    [100, 100],
  ],
  jobs: [
    ['256', 256],
    [1, 1],
  ],
  memory: [
    ['96MiB', 96 * MIB],
    [96 * MIB, 96 * MIB],
  ],
  'max-rate': [
    ['50MB/s', 50e6],
    ['100 MiB/s', 100 * MIB],
    ['64kB/s', 64_000],
    ['none', 0],
  ],
  'compression-level': [['19', 19]],
  checksum: [['SHA256', 'SHA256']],
  'archive-timeout': [['1ms', 1]],
  dbname: [['host=/tmp dbname=x', 'host=/tmp dbname=x']],
  pgdata: [['/srv/data', '/srv/data']],
  'keep-full': [['3', 3]],
  'keep-days': [[14, 14]],
  'keep-hourly': [['24', 24]],
  'keep-daily': [['7', 7]],
  'keep-weekly': [['4', 4]],
  'keep-monthly': [['12', 12]],
  'keep-yearly': [['5', 5]],
  'max-size': [['2TiB', 2 * 1024 ** 4]],
  grace: [
    ['0s', 0],
    ['1d', 86_400_000],
  ],
}
for (const name of Object.keys(SETTINGS) as SettingName[]) {
  test(`the setting "${name}" takes what is right from text and from YAML, and says what would be for all else`, () => {
    for (const [value, parsed] of right[name]) assert.deepEqual(parseSetting(name, value), { value: parsed })
    for (const wrong of [undefined, null, {}, [], '', NaN]) {
      const result = parseSetting(name, wrong)
      assert.ok('problem' in result, `${JSON.stringify(wrong)} is wrong`)
      assert.match(result.problem, /^expected /)
    }
  })
}

test('makeSettings() knows its defaults, refuses names that it does not know, and cannot be changed', () => {
  const settings = makeSettings({})
  assert.deepEqual([settings.requestTimeoutMs, settings.compressionLevel, settings.checksum], [60_000, 1, 'CRC32C'])
  assert.ok(Object.isFrozen(settings))
  assert.deepEqual([settings.retention, settings.graceMs], [{}, 86_400_000])
  const policy = makeSettings({ 'keep-days': 14, 'max-size': '1TB' }).retention
  assert.deepEqual(policy, { keepDays: 14, maxSizeBytes: 1e12 })
  assert.throws(() => makeSettings({ josb: 1 } as object), /unknown setting "josb"/)
  assert.throws(() => makeSettings({ jobs: 0 }), /wrong value 0 for "jobs": expected a whole number/)
})

test('parseConfigFile() gives names, values and lines', () => {
  const text = '# comment\nrepository: s3://b\n\njobs: 4\npath-style: true\n'
  assert.deepEqual(parseConfigFile(text, 'x.yaml'), [
    { name: 'repository', value: 's3://b', source: 'x.yaml:2' },
    { name: 'jobs', value: 4, source: 'x.yaml:4' },
    { name: 'path-style', value: true, source: 'x.yaml:5' },
  ])
  for (const empty of ['', '# only a comment\n', '---\n']) assert.deepEqual(parseConfigFile(empty, 'x.yaml'), [])
})

for (const [what, text, says] of [
  ['a list', '- a\n', /"x\.yaml" must hold settings/],
  ['a text', 'hello\n', /"x\.yaml" must hold settings/],
  ['an open quote', 'jobs: "4\n', /"x\.yaml" is no valid YAML: /],
  ['the same name twice', 'jobs: 1\njobs: 2\n', /"x\.yaml" is no valid YAML: .*unique/],
  ['a name that is unknown', 'jobs: 1\nfoo: 2\n', /unknown setting "foo" \(x\.yaml:2\)/],
  ['a name that every object has', 'constructor: 1\n', /unknown setting "constructor"/],
  ['a name that is no text', '[1, 2]: 3\n', /unknown setting ""/],
] as const) {
  test(`parseConfigFile() refuses ${what} as configuration`, () => {
    assert.throws(
      () => parseConfigFile(text, 'x.yaml'),
      (error) => error instanceof ToolError && error.code === 'configuration' && says.test(error.message),
    )
  })
}

test('planResources() stays within the memory, and uses the cores where they fit', () => {
  for (const memory of [96, 128, 160, 200, 256, 400, 1000, 4000]) {
    for (const cores of [1, 2, 4, 16, 64]) {
      const plan = planResources({ jobs: undefined, memoryBytes: memory * MIB, compressionLevel: 1 }, cores)
      assert.ok(plan.jobs >= 1 && plan.jobs <= Math.max(cores, 1))
      assert.ok(plan.partSizeBytes >= 5 * MIB && plan.partsInFlight >= 1)
      const needed = 80 * MIB + plan.jobs * (58 * MIB + plan.partsInFlight * plan.partSizeBytes)
      assert.ok(needed <= memory * MIB || plan.jobs === 1, `${plan.jobs} jobs in ${memory} MiB`)
    }
  }
})

test('planResources() takes jobs as they are asked for where the memory is not, and refuses what contradicts', () => {
  assert.equal(planResources({ jobs: 64, memoryBytes: undefined, compressionLevel: 1 }, 2).jobs, 64)
  assert.equal(planResources({ jobs: 1, memoryBytes: DEFAULT_MEMORY_BYTES, compressionLevel: 1 }, 2).jobs, 1)
  assert.throws(
    () => planResources({ jobs: 64, memoryBytes: 128 * MIB, compressionLevel: 1 }, 2),
    (error) => error instanceof ToolError && error.code === 'usage' && /64 jobs need \d+MiB/.test(error.message),
  )
})

test('planResources() gives a high level fewer threads: its compressor alone takes 81 MiB', () => {
  assert.equal(planResources({ jobs: undefined, memoryBytes: 256 * MIB, compressionLevel: 1 }, 2).jobs, 2)
  assert.equal(planResources({ jobs: undefined, memoryBytes: 256 * MIB, compressionLevel: 19 }, 2).jobs, 1)
})
