import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatLsn, parseLsn } from '#src/postgres/lsn.js'

test('parseLsn() and formatLsn() agree with PostgreSQL', () => {
  const cases: [string, bigint, string][] = [
    ['0/0', 0n, '0/0'],
    ['16/B374D848', 0x16_b374_d848n, '16/B374D848'],
    ['0/2000028', 0x200_0028n, '0/2000028'],
    ['0/02000028', 0x200_0028n, '0/2000028'], // %X/%08X of newer versions (P10)
    ['16/b374d848', 0x16_b374_d848n, '16/B374D848'],
    ['FFFFFFFF/FFFFFFFF', 2n ** 64n - 1n, 'FFFFFFFF/FFFFFFFF'],
    ['1/0', 2n ** 32n, '1/0'],
  ]
  for (const [text, lsn, canonical] of cases) {
    assert.equal(parseLsn(text), lsn)
    assert.equal(formatLsn(lsn), canonical)
  }
})

test('parseLsn() refuses what is no LSN and names it', () => {
  for (const text of [
    '',
    '/',
    '0',
    '0/',
    '/0',
    '0/0/0',
    ' 0/0',
    '0/0\n',
    '0x0/0',
    'G/0',
    '123456789/0',
    '0/123456789',
    '-1/0',
  ]) {
    assert.throws(
      () => parseLsn(text),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'usage')
        assert.ok(error.message.includes(text))
        return true
      },
    )
  }
})

test('parseLsn() inverts formatLsn() for any LSN', () => {
  let lsn = 0x9e37_79b9_7f4a_7c15n
  for (let round = 0; round < 1000; round++) {
    lsn = BigInt.asUintN(64, lsn * 6364136223846793005n + 1442695040888963407n)
    const shortened = lsn >> BigInt(round % 64)
    assert.equal(parseLsn(formatLsn(shortened)), shortened)
  }
})
