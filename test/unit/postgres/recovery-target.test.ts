import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  formatTarget,
  formatTimestamp,
  parseRecoveryTarget,
  parseTargetTimeline,
  timestampOf,
  type TargetOptions,
} from '#src/postgres/recovery-target.js'

/** The instant as PostgreSQL would print it in UTC. */
function instantOf(targetTime: string): string {
  const target = parseRecoveryTarget({ targetTime })
  assert.ok(target.kind === 'time')
  return formatTimestamp(target.microseconds)
}

describe('a recovery target', () => {
  it('is the end of the archive where none is named', () => {
    assert.deepEqual(parseRecoveryTarget({}), { kind: 'end-of-archive' })
  })

  const times: [string, string][] = [
    ['2026-11-22 18:45:01.123456+00', '2026-11-22 18:45:01.123456+00'],
    ['2026-11-22T18:45:01.5Z', '2026-11-22 18:45:01.500000+00'],
    ['2026-11-22 18:45+01', '2026-11-22 17:45:00.000000+00'],
    ['2026-11-22 18:45:01 +0530', '2026-11-22 13:15:01.000000+00'],
    ['2026-11-22 18:45:01-03:30', '2026-11-22 22:15:01.000000+00'],
    ['2024-02-29 00:00:00-00', '2024-02-29 00:00:00.000000+00'],
    ['1999-12-31 23:59:59.999999+00', '1999-12-31 23:59:59.999999+00'],
    ['1969-12-31 23:59:59.5+00', '1969-12-31 23:59:59.500000+00'],
    ['9999-12-31 23:59:59+00', '9999-12-31 23:59:59.000000+00'],
    ['2026-01-01 00:30+01', '2025-12-31 23:30:00.000000+00'],
  ]
  for (const [text, instant] of times) {
    it(`at ${text} is ${instant} (I5)`, () => {
      assert.equal(instantOf(text), instant)
    })
  }

  it('counts time as the server does', () => {
    assert.equal(timestampOf(new Date('2000-01-01T00:00:01.002Z')), 1_002_000n)
  })

  it('takes the lower half of a transaction, in decimal whatever it begins with', () => {
    assert.deepEqual(parseRecoveryTarget({ targetXid: '0012' }), { kind: 'xid', xid: 12, inclusive: true })
    assert.deepEqual(parseRecoveryTarget({ targetXid: String((7n << 32n) + 800n), targetExclusive: true }), {
      ...{ kind: 'xid', xid: 800, inclusive: false },
    })
  })

  it('is said to people in words', () => {
    const said = (options: TargetOptions): string => formatTarget(parseRecoveryTarget(options))
    assert.equal(said({}), 'end of the archive')
    assert.equal(said({ target: 'immediate' }), 'immediate')
    assert.equal(said({ targetName: 'before upgrade' }), 'restore point "before upgrade"')
    assert.equal(said({ targetLsn: '0/0abc', targetExclusive: true }), 'LSN 0/ABC (exclusive)')
    assert.equal(said({ targetXid: '800' }), 'transaction 800')
    assert.equal(said({ targetTime: '2026-11-22 18:45Z' }), 'time 2026-11-22 18:45:00.000000+00')
  })

  const refused: { options: TargetOptions; says: RegExp }[] = [
    {
      options: { targetTime: '2026-11-22 18:45:01' },
      says: /--target-time: it has no offset: .*18:45:01\+00 would be UTC/,
    },
    {
      options: { targetTime: '2026-11-22 18:45:01 CET' },
      says: /--target-time: expected a date, a time and its offset/,
    },
    { options: { targetTime: 'yesterday' }, says: /"yesterday" for --target-time/ },
    { options: { targetTime: '2026-02-30 12:00Z' }, says: /no such instant/ },
    { options: { targetTime: '2026-13-01 12:00Z' }, says: /no such instant/ },
    { options: { targetTime: '2026-11-22 24:00Z' }, says: /no such instant/ },
    { options: { targetTime: '9999-12-31 23:59-01' }, says: /no such instant/ },
    { options: { targetTime: '0001-01-01 00:00+01' }, says: /no such instant/ },
    { options: { targetTime: '2026-11-22 12:00+20' }, says: /no such offset/ },
    { options: { targetTime: '2026-11-22 12:00:00.1234567Z' }, says: /expected a date/ },
    { options: { targetLsn: '16-B374D848' }, says: /"16-B374D848" for --target-lsn: expected an LSN/ },
    { options: { targetXid: '0x10' }, says: /--target-xid: expected the number of a transaction/ },
    { options: { targetXid: '2' }, says: /--target-xid/ },
    { options: { targetXid: '18446744073709551616' }, says: /--target-xid/ },
    { options: { targetXid: '4294967297' }, says: /--target-xid/ },
    { options: { targetName: 'x'.repeat(64) }, says: /--target-name: expected the name of a restore point/ },
    { options: { targetName: 'a\nb' }, says: /--target-name/ },
    { options: { target: 'now' }, says: /"now" for --target: expected immediate/ },
    { options: { target: 'immediate', targetXid: '800' }, says: /only one of --target-xid and --target can be/ },
    { options: { targetExclusive: true }, says: /--target-exclusive needs --target-time/ },
    { options: { target: 'immediate', targetExclusive: true }, says: /--target-exclusive needs/ },
    { options: { targetName: 'x', targetExclusive: true }, says: /--target-exclusive needs/ },
  ]
  for (const { options, says } of refused) {
    it(`${JSON.stringify(options)} is refused by its name`, () => {
      assert.throws(() => parseRecoveryTarget(options), { code: 'usage', message: says })
    })
  }
})

describe('a timeline', () => {
  it('is a number in three ways, latest or current (I8)', () => {
    const texts = ['1', '10', '0xA', '0XA', '0000000A', '0000000a', '00000010', '4294967295', 'latest', 'current']
    assert.deepEqual(texts.map(parseTargetTimeline), [1, 10, 10, 10, 10, 10, 16, 4294967295, 'latest', 'current'])
  })

  for (const text of ['0', '', '-1', '1.5', 'A', '010', '00000000', '0x', '4294967296', '0x100000000', 'Latest']) {
    it(`is not "${text}"`, () => {
      assert.throws(() => parseTargetTimeline(text), { code: 'usage', message: /--target-timeline/ })
    })
  }
})
