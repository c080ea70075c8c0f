import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkLabel, parseBackupLabel } from '#src/postgres/backup-label.js'

const LINES = [
  'START WAL LOCATION: 16/B3000028 (file 0000000200000016000000B3)',
  'CHECKPOINT LOCATION: 16/B3000060',
  'BACKUP METHOD: streamed',
  'BACKUP FROM: primary',
  'START TIME: 2026-03-01 02:00:00 UTC',
  'LABEL: nightly: größe',
  'START TIMELINE: 2',
]

function label(change: (lines: string[]) => string[] = (lines) => lines): Buffer {
  return Buffer.from(`${change([...LINES]).join('\n')}\n`)
}

test('parseBackupLabel() reads every line', () => {
  const expected = {
    startLsn: 0x16_b300_0028n,
    startSegment: '0000000200000016000000B3',
    checkpointLsn: 0x16_b300_0060n,
    backupMethod: 'streamed',
    backupFrom: 'primary',
    startTime: '2026-03-01 02:00:00 UTC',
    label: 'nightly: größe',
    startTimeline: 2,
  }
  assert.deepEqual(parseBackupLabel(label()), expected)
  const from = (word: string) => label((lines) => lines.map((line) => line.replace('primary', word)))
  assert.deepEqual(parseBackupLabel(from('standby')), { ...expected, backupFrom: 'standby' })
  assert.deepEqual(parseBackupLabel(from('master')), expected) // PostgreSQL 13
})

test('parseBackupLabel() refuses missing, doubled and unreadable lines', () => {
  for (const [index, line] of LINES.entries()) {
    const key = line.slice(0, line.indexOf(':'))
    assert.throws(() => parseBackupLabel(label((lines) => lines.filter((other) => other !== line))), {
      code: 'damaged',
      message: new RegExp(`no line "${key}"`),
    })
    assert.throws(() => parseBackupLabel(label((lines) => [...lines, lines[index] ?? ''])), {
      code: 'damaged',
      message: new RegExp(`more than one line "${key}"`),
    })
  }
  const replacements: [RegExp, string][] = [
    [/16\/B3000028 /, 'x '],
    [/\(file .*\)/, ''],
    [/16\/B3000060/, '16-B3000060'],
    [/primary/, 'elsewhere'],
    [/TIMELINE: 2/, 'TIMELINE: 0x2'],
  ]
  for (const [pattern, text] of replacements) {
    const bytes = label((lines) => lines.map((line) => line.replace(pattern, text)))
    assert.throws(() => parseBackupLabel(bytes), { code: 'damaged' }, text)
  }
})

test('parseBackupLabel() refuses the label of an incremental backup', () => {
  const bytes = label((lines) => [...lines, 'INCREMENTAL FROM LSN: 0/2000028'])
  assert.throws(() => parseBackupLabel(bytes), { code: 'damaged', message: /incremental/ })
})

test('checkLabel() takes one printable line of at most 1024 bytes', () => {
  for (const text of ['nightly', 'größe', 'a b: c', '日本', 'x'.repeat(1024), '👍']) checkLabel(text)
  const bad = [
    '',
    'x'.repeat(1025),
    'ö'.repeat(513),
    'a\nSTART TIMELINE: 9',
    'a\r',
    'a\tb',
    '\0',
    '\u0085',
    '\u2028',
    '\ud800',
    '\u007f',
  ]
  for (const text of bad) assert.throws(() => checkLabel(text), { code: 'usage' }, JSON.stringify(text))
})
