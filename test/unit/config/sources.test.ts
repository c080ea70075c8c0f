/** What stands around the settings: misspelt names, the environment, secrets, and the schema of the file. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { nearestName } from '#src/config/nearest.js'
import { hideSecrets } from '#src/config/secrets.js'
import { describeSetting, parseSetting, SETTING_NAMES, type SettingName } from '#src/config/settings.js'
import { unknownVariables, variableOf } from '#src/config/variables.js'
import { problemsOf } from '../../support/schemas.js'

for (const [wrong, expected] of [
  ['josb', 'jobs'],
  ['repostory', 'repository'],
  ['regoin', 'region'],
  ['compresion-level', 'compression-level'],
  ['push_ahead', 'push-ahead'],
  ['greeting', undefined],
  ['', undefined],
] as const) {
  test(`nearestName() of "${wrong}" is ${expected ?? 'none'}`, () => {
    assert.equal(nearestName(wrong, SETTING_NAMES), expected)
  })
}

describe('unknownVariables()', () => {
  test('knows every setting, and what the front reads and sets', () => {
    const ours = [...SETTING_NAMES.map(variableOf), 'PGSLUICE_CONFIG', 'PGSLUICE_NODE', 'PGSLUICE_FRONT']
    assert.deepEqual(unknownVariables([...ours, 'PGDATA', 'HOME', 'SLUICE']), [])
  })

  test('names what is misspelt, and the nearest name', () => {
    assert.deepEqual(unknownVariables(['PGSLUICE_REGOIN', 'PGSLUICE_HELLO', 'PGSLUICE_jobs']), [
      { name: 'PGSLUICE_HELLO', nearest: undefined },
      { name: 'PGSLUICE_REGOIN', nearest: 'PGSLUICE_REGION' },
      { name: 'PGSLUICE_jobs', nearest: 'PGSLUICE_JOBS' },
    ])
  })

  test('leaves alone what Kubernetes sets for services that are called like us', () => {
    const injected = [
      'PGSLUICE_SERVICE_HOST',
      'PGSLUICE_SERVICE_PORT',
      'PGSLUICE_SERVICE_PORT_HTTP',
      'PGSLUICE_PORT',
      'PGSLUICE_PORT_8080_TCP',
      'PGSLUICE_PORT_8080_TCP_PROTO',
      'PGSLUICE_METRICS_PORT_9090_TCP_ADDR',
      'PGSLUICE_METRICS_SERVICE_HOST',
    ]
    assert.deepEqual(unknownVariables(injected), [])
  })
})

for (const [text, shown] of [
  ['s3://bucket/prefix', 's3://bucket/prefix'],
  ['s3://key:s3cr3t@bucket', 's3://***@bucket'],
  ['https://user:s3cr3t@s3.example.net/x@y', 'https://***@s3.example.net/x@y'],
  [
    'postgresql://u:s3cr3t@db/x?sslpassword=s3cr3t&sslmode=require',
    'postgresql://***@db/x?sslpassword=***&sslmode=require',
  ],
  ['host=/tmp password=s3cr3t user=x', 'host=/tmp password=*** user=x'],
  [`password = 's3cr3t \\' s3cr3t' user=x`, 'password = *** user=x'],
  [String.raw`password=s3\ cr3t user=x`, 'password=*** user=x'],
  ["password='s3cr3t", 'password=***'],
  ['PASSWORD=s3cr3t', 'PASSWORD=***'],
  ['/srv/passwords', '/srv/passwords'],
] as const) {
  test(`hideSecrets() shows ${shown}`, () => {
    assert.equal(hideSecrets(text), shown)
  })
}

/** The schema may be wider than the program, and must never be narrower: an editor would mark what is right. */
for (const [name, values] of Object.entries({
  repository: ['s3://bucket/x', 'file:///srv/x', 'bucket', 5],
  jobs: [1, 256, '4', 0, 257, 1.5, 'many', true, null],
  memory: ['128MiB', '1.5 GiB', 134217728, '128 bananas', 1, '4k'],
  'archive-timeout': ['20min', '1.5 h', 20, '20'],
  'path-style': [true, false, 'true', 'perhaps', 1],
  checksum: ['CRC32C', 'SHA256', 'MD5'],
  endpoint: ['https://s3.example.net', 'ftp://x'],
  region: ['eu-central-1', '', 5],
}) as [SettingName, unknown[]][]) {
  test(`the schema of the file takes each value of "${name}" that the program takes, and refuses the others`, () => {
    for (const value of values) {
      const isRight = 'value' in parseSetting(name, value)
      assert.equal(problemsOf('pgsluice-yaml', { [name]: value }).length === 0, isRight, JSON.stringify(value))
    }
  })
}

test('the schema of the file knows every setting and nothing else, and an empty file is one', () => {
  assert.deepEqual(problemsOf('pgsluice-yaml', parse('# nothing\n')), [])
  assert.notDeepEqual(problemsOf('pgsluice-yaml', { josb: 4 }), [])
  for (const name of SETTING_NAMES) {
    const { byDefault } = describeSetting(name)
    if ('value' in parseSetting(name, byDefault))
      assert.deepEqual(problemsOf('pgsluice-yaml', { [name]: byDefault }), [])
  }
})
