/** The textfiles of runs: what they keep of the runs before, and that nothing but a file of the same command is replaced. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, describe, it } from 'node:test'
import { readExposition } from '#src/cli/prometheus-reader.js'
import { exposition } from '#src/cli/prometheus.js'
import { BACKUP_METRICS, EXPIRE_METRICS, STATUS_METRICS, VERIFY_METRICS } from '#src/cli/run-metrics.js'
import { commandOf, type EndedRun, type RunMetrics } from '#src/cli/textfile-content.js'
import { Textfile } from '#src/cli/textfile.js'
import type { backup } from '#src/commands/backup.js'
import type { ExpireResult } from '#src/commands/expire-result.js'
import type { Status } from '#src/commands/status.js'
import type { VerifiedBackup, VerifyAnswer } from '#src/commands/verify.js'
import { ToolError } from '#src/errors.js'
import { ROOT } from '../../support/oracles.js'

const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-textfile-'))
after(() => rmSync(home, { recursive: true }))
let files = 0
const newFile = (): string => path.join(home, `file-${++files}.prom`)

const AT = new Date('2026-11-27T02:00:00Z')
const LATER = new Date('2026-11-28T02:00:00Z')
const seconds = (time: string | Date): number => new Date(time).getTime() / 1000
const failed = (ended = LATER): EndedRun<never> => ({ exitCode: 3, ended, seconds: 1.5 })

/** Writes what a run leaves, and returns each sample as `name{labels without the file}`. */
async function leave<T>(file: string, metrics: RunMetrics<T>, run: EndedRun<T>): Promise<Map<string, number>> {
  const textfile = await Textfile.open(file, metrics)
  await textfile.write(run)
  const text = readFileSync(file, 'utf8')
  const gauges = readExposition(text) ?? assert.fail(text)
  assert.equal(exposition(gauges), text)
  return new Map(
    gauges.flatMap(({ name, samples }) =>
      samples.map(({ labels: { file: of, ...labels }, value }) => {
        assert.equal(of, path.basename(file, '.prom'))
        const rest = Object.entries(labels).map(([key, label]) => `${key}=${label}`)
        return [`${name.replace('pgsluice_', '')}{${rest.join(',')}}`, value!]
      }),
    ),
  )
}

type BackupRecord = Awaited<ReturnType<typeof backup>>
const record = (cluster: string, stop = '2026-11-27T01:50:00Z'): BackupRecord =>
  ({
    ...{ cluster, files: { sha256: '', count: 7 }, stop: { time: stop } },
    totals: { bytes: 1000, storedBytes: 300, seconds: 2.5, pageErrors: 1, vanishedFiles: 0, skippedFiles: 0 },
  }) as BackupRecord

const verified = (cluster: string, state: VerifiedBackup['state'], faultCount = 0, time = AT): VerifiedBackup => ({
  ...{ cluster, id: '', state, time: time.toISOString(), seconds: 1, faults: [], faultCount, remarks: [] },
  proofKept: true,
})
const answer = (...backups: VerifiedBackup[]): VerifyAnswer => ({ ok: false, level: 'content', backups, running: [] })

const expired: ExpireResult = {
  ...{ cluster: 'a', dryRun: false, policy: {}, graceSeconds: 0, wal: [], inUse: [], unreadable: [], walHolds: ['x'] },
  backups: [
    { id: '1', label: '', stopTime: '', storedBytes: 5, action: 'expire', reasons: [] },
    { id: '2', label: '', stopTime: '', storedBytes: 6, action: 'keep', reasons: [] },
  ],
  folders: [
    { folder: 'base', id: '0', reason: '', when: 'now' },
    { folder: 'proofs', id: '0', reason: '', when: 'now' },
    { folder: 'base', id: '1', reason: '', when: 'later' },
  ],
  deed: { deletedObjects: 9, deletedBytes: 99, failedObjects: 0, failures: [] },
}
const status: Status = { ok: true, cluster: 'a', clock: 'server', time: AT.toISOString(), heads: [], problems: [] }

describe('the textfile', () => {
  it('of a backup tells the run and the backup, whose end is the last success', async () => {
    const file = newFile()
    const run = { exitCode: 5, ended: AT, seconds: 3, result: record('a') }
    assert.deepEqual(Object.fromEntries(await leave(file, BACKUP_METRICS, run)), {
      'backup_last_run_timestamp_seconds{cluster=a}': seconds(AT),
      'backup_last_run_duration_seconds{cluster=a}': 3,
      'backup_last_run_exit_code{cluster=a}': 5,
      'backup_last_success_timestamp_seconds{cluster=a}': seconds('2026-11-27T01:50:00Z'),
      'backup_bytes{cluster=a}': 1000,
      'backup_stored_bytes{cluster=a}': 300,
      'backup_files{cluster=a}': 7,
      'backup_duration_seconds{cluster=a}': 2.5,
      'backup_corrupt_pages{cluster=a}': 1,
      'backup_skipped_files{cluster=a}': 0,
    })
  })

  it('keeps the last success and the answer when a run fails, with the cluster that the file is about', async () => {
    const file = newFile()
    const before = await leave(file, BACKUP_METRICS, { exitCode: 0, ended: AT, seconds: 3, result: record('a') })
    const then = await leave(file, BACKUP_METRICS, failed())
    assert.deepEqual(
      then,
      new Map([
        ...before,
        ['backup_last_run_timestamp_seconds{cluster=a}', seconds(LATER)],
        ['backup_last_run_duration_seconds{cluster=a}', 1.5],
        ['backup_last_run_exit_code{cluster=a}', 3],
      ]),
    )
    const again = await leave(file, BACKUP_METRICS, failed())
    assert.deepEqual(again, then)
  })

  it('tells a first run that fails without a cluster, and nothing of it is left after a success', async () => {
    const file = newFile()
    const first = await leave(file, BACKUP_METRICS, failed(AT))
    assert.deepEqual(
      [...first.keys()],
      ['timestamp_seconds{}', 'duration_seconds{}', 'exit_code{}'].map((name) => `backup_last_run_${name}`),
    )
    const run = { exitCode: 0, ended: AT, seconds: 3, result: record('a') }
    for (const name of (await leave(file, BACKUP_METRICS, run)).keys()) assert.match(name, /\{cluster=a\}$/)
  })

  it('keeps what it says of another cluster, so that an alarm about that one still rings', async () => {
    const file = newFile()
    const old = await leave(file, BACKUP_METRICS, { exitCode: 0, ended: AT, seconds: 3, result: record('a') })
    const result = record('b', '2026-11-28T01:50:00Z')
    const both = await leave(file, BACKUP_METRICS, { exitCode: 0, ended: LATER, seconds: 3, result })
    for (const [name, value] of old) {
      assert.equal(both.get(name), value)
      assert.ok(both.has(name.replace('cluster=a', 'cluster=b')))
    }
    const unknown = await leave(file, BACKUP_METRICS, failed())
    assert.deepEqual(unknown, new Map([...both, ...(await leave(newFile(), BACKUP_METRICS, failed()))]))
    const known = await leave(file, BACKUP_METRICS, { ...failed(), cluster: 'b' })
    assert.deepEqual(
      known,
      new Map([
        ...both,
        ['backup_last_run_exit_code{cluster=b}', 3],
        ['backup_last_run_duration_seconds{cluster=b}', 1.5],
      ]),
    )
  })

  it('of verify keeps the damage that was found when the next run cannot look', async () => {
    const file = newFile()
    const backups = [
      verified('a', 'ok', 0, LATER),
      verified('a', 'faults', 3),
      verified('a', 'deleted'),
      verified('b', 'recent', 0, AT),
    ]
    const found = await leave(file, VERIFY_METRICS, {
      exitCode: 1,
      ended: LATER,
      seconds: 3,
      result: answer(...backups),
    })
    const expected = {
      'verify_last_run_timestamp_seconds{}': seconds(LATER),
      'verify_last_run_duration_seconds{}': 3,
      'verify_last_run_exit_code{}': 1,
      ...{ 'verify_backups{cluster=a,level=content}': 2, 'verify_backups{cluster=b,level=content}': 1 },
      ...{ 'verify_checked_backups{cluster=a,level=content}': 2, 'verify_checked_backups{cluster=b,level=content}': 0 },
      ...{ 'verify_faulty_backups{cluster=a,level=content}': 1, 'verify_faulty_backups{cluster=b,level=content}': 0 },
      ...{ 'verify_faults{cluster=a,level=content}': 3, 'verify_faults{cluster=b,level=content}': 0 },
      ...{ 'verify_unkept_proofs{cluster=a,level=content}': 0, 'verify_unkept_proofs{cluster=b,level=content}': 0 },
      'verify_oldest_look_timestamp_seconds{cluster=a,level=content}': seconds(AT),
      'verify_oldest_look_timestamp_seconds{cluster=b,level=content}': seconds(AT),
    }
    assert.deepEqual(Object.fromEntries(found), expected)
    const unable = await leave(file, VERIFY_METRICS, failed())
    assert.equal(unable.get('verify_faults{cluster=a,level=content}'), 3)
    assert.equal(unable.get('verify_last_run_exit_code{}'), 3)
    const result = { ...answer(verified('a', 'ok')), ok: true }
    const mended = await leave(file, VERIFY_METRICS, { exitCode: 0, ended: LATER, seconds: 3, result })
    assert.equal(mended.get('verify_faults{cluster=a,level=content}'), 0)
    assert.equal(mended.get('verify_last_success_timestamp_seconds{}'), seconds(LATER))
  })

  it('of expire counts what is kept, retired and deleted, and a run that left objects is no success', async () => {
    const file = newFile()
    const done = await leave(file, EXPIRE_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: expired })
    assert.deepEqual(Object.fromEntries([...done].slice(4)), {
      'expire_kept_backups{cluster=a}': 1,
      'expire_kept_bytes{cluster=a}': 6,
      'expire_retired_backups{cluster=a}': 1,
      'expire_deleted_backups{cluster=a}': 1,
      'expire_deleted_objects{cluster=a}': 9,
      'expire_deleted_bytes{cluster=a}': 99,
      'expire_failed_objects{cluster=a}': 0,
      'expire_unreadable_backups{cluster=a}': 0,
      'expire_wal_held{cluster=a}': 1,
    })
    const result = { ...expired, deed: { ...expired.deed!, failedObjects: 2 } }
    const stuck = await leave(file, EXPIRE_METRICS, { exitCode: 3, ended: LATER, seconds: 1, result })
    assert.equal(stuck.get('expire_failed_objects{cluster=a}'), 2)
    assert.equal(stuck.get('expire_last_success_timestamp_seconds{cluster=a}'), seconds(AT))
  })

  it('of status forgets an answer once a run has none: it was of that moment', async () => {
    const file = newFile()
    const well = await leave(file, STATUS_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: status })
    assert.equal(well.get('status_ok{cluster=a}'), 1)
    assert.equal(well.get('archive_gap{cluster=a}'), 0)
    const unable = await leave(file, STATUS_METRICS, failed())
    assert.deepEqual([...unable.keys()], [...well.keys()].slice(0, 4))
    assert.equal(unable.get('status_last_success_timestamp_seconds{cluster=a}'), seconds(AT))
  })

  it('is one that everybody can read whatever the umask, is replaced in one step, and leaves nothing beside it', async () => {
    const directory = path.join(home, 'alone')
    mkdirSync(directory)
    const file = path.join(directory, 'x.prom')
    const umask = process.umask(0o077)
    try {
      await leave(file, BACKUP_METRICS, failed())
      assert.equal(statSync(file).mode & 0o7777, 0o644)
      const { ino } = statSync(file)
      await leave(file, BACKUP_METRICS, failed())
      assert.notEqual(statSync(file).ino, ino)
    } finally {
      process.umask(umask)
    }
    assert.deepEqual(readdirSync(directory), ['x.prom'])
  })

  const ours = exposition([{ name: 'pgsluice_backup_bytes', help: 'x', samples: [{ labels: {}, value: 1 }] }])
  const refusals: { name: string; at?: string; make?: (file: string) => void; says: RegExp }[] = [
    { name: 'a name that ends otherwise', at: 'x.txt', says: /expected a name that ends in \.prom/ },
    { name: 'a name that is only the ending', at: '.prom', says: /expected a name that ends in \.prom/ },
    { name: 'a directory that is not there', at: 'nowhere/x.prom', says: /no file can be made in ".*nowhere": ENOENT/ },
    {
      name: 'a file for a directory',
      at: 'plain/x.prom',
      make: (file) => writeFileSync(path.dirname(file), ''),
      says: /is no directory/,
    },
    { name: 'a directory of that name', make: (file) => mkdirSync(file), says: /it is no regular file/ },
    { name: 'a symbolic link', make: (file) => symlinkSync('x', file), says: /it is no regular file/ },
    {
      name: 'metrics of others',
      make: (file) => writeFileSync(file, 'apt_upgrades 3\n'),
      says: /has not written, and would be replaced/,
    },
    {
      name: 'metrics of another command',
      make: (file) => writeFileSync(file, ours.replaceAll('backup', 'expire')),
      says: /it holds "pgsluice_expire_bytes", which is not of "pgsluice backup"/,
    },
    { name: 'a file that was cut', make: (file) => writeFileSync(file, ours.slice(0, -1)), says: /has not written/ },
  ]
  for (const { name, at, make, says } of refusals) {
    it(`is refused before the run: ${name}`, async () => {
      const file = at === undefined ? newFile() : path.join(home, at)
      make?.(file)
      await assert.rejects(Textfile.open(file, BACKUP_METRICS), (error) => {
        assert.ok(error instanceof ToolError && error.code === 'usage')
        assert.ok(error.message.startsWith(`wrong value "${file}" for --textfile: `), error.message)
        assert.match(error.message, says)
        return true
      })
    })
  }

  it('is an error when it cannot be written in the end', async () => {
    const directory = path.join(home, 'vanishing')
    mkdirSync(directory)
    const textfile = await Textfile.open(path.join(directory, 'x.prom'), BACKUP_METRICS)
    rmSync(directory, { recursive: true })
    await assert.rejects(textfile.write(failed()), (error) => {
      assert.ok(error instanceof ToolError && error.code === 'file-system')
      assert.match(error.message, /^could not write the textfile ".*vanishing\/x\.prom": ENOENT/)
      return true
    })
  })
})

const LINES = exposition([
  {
    name: 'pgsluice_a',
    help: 'b \\ c\nd',
    samples: [
      { labels: { cluster: 'x"\\\n', file: 'f' }, value: -1.5e-7 },
      { labels: { file: 'g' }, value: 2 },
    ],
  },
  { name: 'pgsluice_b', help: 'b', samples: [{ labels: {}, value: 1e21 }] },
])
const SABOTAGES: Record<string, string> = {
  'without its last line break': LINES.slice(0, -1),
  'a line less': LINES.replace(/.*\n/, ''),
  'a blank line more': `${LINES}\n`,
  'another type': LINES.replace('gauge', 'counter'),
  'a timestamp': LINES.replace(' 2\n', ' 2 1764208800000\n'),
  'no number': LINES.replace(' 2\n', ' NaN\n'),
  'a metric twice': LINES.replaceAll('pgsluice_b', 'pgsluice_a'),
  'a sample of another metric': LINES.replace('\npgsluice_b', '\npgsluice_c'),
  'a label twice': LINES.replace('file="f"', 'cluster="f"'),
  'a label without its quote': LINES.replace('file="f"', 'file="f'),
  'a comma too much': LINES.replace('file="g"', 'file="g",'),
  'no samples': LINES.replace(/^pgsluice_b.*\n/m, ''),
}
describe('the reader of metrics', () => {
  it('takes what is written, and all of it', () => {
    assert.equal(exposition(readExposition(LINES) ?? []), LINES)
    assert.deepEqual(readExposition(''), [])
  })
  for (const [name, text] of Object.entries(SABOTAGES)) {
    it(`refuses a text that is not ours: ${name}`, () => {
      assert.notEqual(text, LINES)
      assert.equal(readExposition(text), undefined)
    })
  }
})

it('docs/monitoring.md tells every metric of every textfile', async () => {
  const runs = [
    await leave(newFile(), BACKUP_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: record('a') }),
    await leave(newFile(), EXPIRE_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: expired }),
    await leave(newFile(), STATUS_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: status }),
    await leave(newFile(), VERIFY_METRICS, { exitCode: 0, ended: AT, seconds: 1, result: answer(verified('a', 'ok')) }),
  ]
  const names = runs.flatMap((run) => [...run.keys()].map((name) => `pgsluice_${name.replace(/\{.*/, '')}`))
  assert.equal(new Set(names).size, names.length, 'no metric is of two commands')
  const page = readFileSync(path.join(ROOT, 'docs/monitoring.md'), 'utf8')
  const described = [...page.matchAll(/^\| `(pgsluice_\w+)`/gm)].map(([, name]) => name!)
  assert.deepEqual(
    names.filter((name) => !described.includes(name)),
    [],
  )
  // those of a status that are known only with a server are in the test of its metrics
  assert.deepEqual(
    described.filter((name) => commandOf(name) !== 'status' && !names.includes(name)),
    [],
  )
  const inRules = [...page.matchAll(/\bpgsluice_\w+/g)]
    .map(([name]) => name)
    .filter((name) => !/_(backup|verify|expire|status)$/.test(name))
  assert.deepEqual(
    inRules.filter((name) => !described.includes(name)),
    [],
  )
})
