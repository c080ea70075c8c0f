import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOptions, USAGE } from '../../../scripts/bench/options.js'

test('the load of the phase friendly has its clients, its rate and its time from the command line', () => {
  const { phases, clients, rate, before } = parseOptions([
    '--only',
    'friendly',
    '--clients',
    '3',
    '--rate',
    '50',
    '--before',
    '7',
  ])
  assert.deepEqual([[...phases], clients, rate, before], [['friendly'], 3, 50, 7])
  assert.equal(parseOptions([]).phases.has('friendly'), false)
  assert.equal(parseOptions(['--all']).phases.has('friendly'), true)
})

for (const [name, value] of [
  ['clients', '0'],
  ['rate', '1.5'],
  ['before', 'long'],
] as const) {
  test(`--${name} ${value} is refused by its name`, () => {
    assert.throws(() => parseOptions([`--${name}`, value]), {
      message: `--${name} "${value}" is no whole number from 1`,
    })
    assert.match(USAGE, new RegExp(`^  --${name} `, 'm'))
  })
}
