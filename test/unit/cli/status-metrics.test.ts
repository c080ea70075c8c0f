/** The metrics of a status, read by a strict reader of the text format that knows nothing of how it was written. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { exposition } from '#src/cli/prometheus.js'
import { statusMetrics } from '#src/cli/status-metrics.js'
import { commandOf } from '#src/cli/textfile-content.js'
import type { Status } from '#src/commands/status.js'
import { ROOT } from '../../support/oracles.js'

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const SAMPLE =
  /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/

/** Name, label and value of each sample. Fails where HELP and TYPE are not before the samples, once a metric. */
function read(text: string): Map<string, { label: string; value: number }> {
  assert.ok(text.endsWith('\n'))
  const samples = new Map<string, { label: string; value: number }>()
  const lines = text.slice(0, -1).split('\n')
  for (let i = 0; i < lines.length; i += 3) {
    const [, help = ''] = /^# HELP (\S+) \S/.exec(lines[i]!) ?? []
    assert.match(help, NAME)
    assert.equal(lines[i + 1], `# TYPE ${help} gauge`)
    const [, name = '', , label = '', value] = SAMPLE.exec(lines[i + 2] ?? '') ?? assert.fail(lines[i + 2])
    assert.equal(name, help)
    assert.equal(samples.has(name), false)
    samples.set(name, {
      label: label.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one)),
      value: Number(value),
    })
  }
  return samples
}

const EMPTY: Status = {
  ...{ ok: false, cluster: 'odd "name"\\\n', clock: 'server', time: '2026-11-27T17:00:00.500Z', heads: [] },
  problems: [{ message: 'there is no backup' }],
}

test('a status becomes metrics that a strict reader takes, and what is not known is left out', () => {
  const few = read(exposition(statusMetrics(EMPTY)))
  assert.deepEqual(few.get('pgsluice_status_ok'), { label: EMPTY.cluster, value: 0 })
  assert.equal(few.get('pgsluice_status_timestamp_seconds')?.value, Date.parse(EMPTY.time) / 1000)
  assert.equal(few.has('pgsluice_archive_lag_seconds'), false)
  const all = read(
    exposition(
      statusMetrics({
        ...EMPTY,
        ...{ ok: true, problems: [] },
        lag: { archivedLsn: '0/1', segments: 2, next: 'x', bytes: 3, seconds: 4.5, isAtMost: true },
        backup: {
          ...{ id: 'x', label: '', stopLsn: '0/1', timeline: 1, ageSeconds: 1 },
          stopTime: '2026-11-27T16:00:00Z',
        },
        recoverable: { time: '2026-11-27T16:30:00Z', lsn: '0/1', ageSeconds: 1, isBackupEnd: false },
        server: {
          ...{ version: '18.4', inRecovery: false, timeline: 1, lsn: '0/1', segment: 'x', archiveMode: 'on' },
          archiver: { isFailing: true, failedCount: 1, readyFiles: 7 },
        },
      }),
    ),
  )
  assert.equal(all.get('pgsluice_archive_lag_seconds')?.value, 4.5)
  assert.equal(all.get('pgsluice_newest_backup_timestamp_seconds')?.value, Date.parse('2026-11-27T16:00:00Z') / 1000)
  assert.equal(all.get('pgsluice_archiver_ready_files')?.value, 7)
  const described = [...readFileSync(path.join(ROOT, 'docs/monitoring.md'), 'utf8').matchAll(/^\| `(pgsluice_\w+)`/gm)]
  const ofStatus = described.map(([, name]) => name!).filter((name) => commandOf(name) === 'status')
  // what is of the run is in a textfile only
  const ofAnswer = ofStatus.filter((name) => !name.startsWith('pgsluice_status_last_'))
  assert.deepEqual(ofAnswer.sort(), [...all.keys()].sort())
})
