/** What `list` tells of each backup, which backups it tells of, and how that fits a terminal. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { listText } from '#src/cli/list-text.js'
import { expire } from '#src/commands/expire.js'
import { list, type ClusterBackups } from '#src/commands/list.js'
import type { ListOptions } from '#src/commands/list-filter.js'
import { makeSettings, type Settings } from '#src/config/settings.js'
import { ToolError } from '#src/errors.js'
import type { ReportEvent } from '#src/report.js'
import { HeartbeatWriter } from '#src/repository/heartbeat.js'
import { pinKey } from '#src/repository/layout.js'
import { writePin } from '#src/repository/pins.js'
import { writeProof, type Proof } from '#src/repository/proofs.js'
import { writeUnfinished } from '#src/repository/unfinished.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { commitRecord } from '../../support/known-repository.js'
import { assertValid } from '../../support/schemas.js'

const [FIRST, SECOND, THIRD] = ['20260101T000000Z-00000001', '20260102T000000Z-00000002', '20260103T000000Z-00000003']
const RUNNING = '20260104T000000Z-00000004'
const DIED = '20260104T000000Z-00000005'
const WAITING = '20260104T000000Z-00000006'
const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-list-'))
const events: ReportEvent[] = []
const context = { report: (event: ReportEvent) => events.push(event), signal: new AbortController().signal }
let storage: Storage
let settings: Settings
let cluster: string
let running: HeartbeatWriter | undefined

const listed = async (options: ListOptions = {}): Promise<ClusterBackups> => {
  const clusters = await list(settings, options, context)
  assertValid('list-result', { clusters })
  assert.equal(clusters.length, 1)
  return clusters[0]!
}

before(async () => {
  const url = pathToFileURL(home).href
  storage = await openStorage({ url })
  settings = makeSettings({ repository: url })
  const records = [
    await commitRecord(storage, { id: FIRST, label: 'nightly', alias: 'main', stopTime: '2026-01-01T01:00:00.000Z' }),
    // began before the third, and ended after it
    await commitRecord(storage, { id: SECOND, label: 'weekly', alias: 'main', stopTime: '2026-01-03T20:00:00.000Z' }),
    await commitRecord(storage, { id: THIRD, alias: 'main', stopTime: '2026-01-03T10:00:00.000Z', timeline: 2 }),
  ]
  cluster = records[0]!.cluster
  for (const id of [RUNNING, DIED, WAITING]) {
    const beat = { id, host: 'db1', startLsn: '0/2000028', startSegment: '000000010000000000000002' }
    const heartbeat = new HeartbeatWriter(storage, cluster, beat)
    await heartbeat.start(() => assert.fail('the heart stopped'))
    if (id === RUNNING) running = heartbeat
    else await heartbeat.end(id === DIED ? 'failed' : 'unfinished')
  }
  const record = { ...records[0]!, id: WAITING }
  const unfinished = { id: WAITING, cluster, time: '2026-01-04T00:00:00.000Z', reason: 'late', record, wal: [] }
  await writeUnfinished(storage, unfinished)
  const time = '2026-01-05T00:00:00.000Z'
  await writePin(storage, cluster, { id: SECOND, pinned: true, until: '2999-01-01T00:00:00.000Z', time })
  await writePin(storage, cluster, { id: FIRST, pinned: true, until: '2026-01-06T00:00:00.000Z', time })
  const proof: Proof = { id: FIRST, kind: 'verify', level: 'content', time, ok: true, faults: [], faultCount: 0 }
  await writeProof(storage, cluster, proof)
  const faults = [{ key: 'x', problem: 'is missing' }]
  await writeProof(storage, cluster, { ...proof, id: THIRD, ok: false, faults, faultCount: 1 })
})
after(async () => {
  await running?.end('failed')
  storage.close()
  rmSync(home, { recursive: true })
})

describe('list()', () => {
  it('tells pins that hold, the newest proofs, and backups that run or wait to be finished', async () => {
    const { backups, pins, proofs, inProgress } = await listed()
    assert.deepEqual(
      backups.map(({ id }) => id),
      [FIRST, SECOND, THIRD],
    )
    assert.deepEqual(pins, [{ id: SECOND, until: '2999-01-01T00:00:00.000Z' }])
    assert.deepEqual(
      proofs.map(({ id, state }) => `${id} ${state}`),
      [`${FIRST} proven`, `${THIRD} failed`],
    )
    assert.deepEqual(inProgress, [
      { id: RUNNING, state: 'running' },
      { id: WAITING, state: 'unfinished' },
    ])
  })

  it('takes a backup whose heartbeat is old for one that died', async () => {
    const folder = path.join(home, cluster, 'running', RUNNING)
    const yesterday = new Date(Date.now() - 86_400_000)
    for (const name of readdirSync(folder)) utimesSync(path.join(folder, name), yesterday, yesterday)
    try {
      assert.deepEqual((await listed()).inProgress, [{ id: WAITING, state: 'unfinished' }])
    } finally {
      const now = new Date()
      for (const name of readdirSync(folder)) utimesSync(path.join(folder, name), now, now)
    }
  })

  for (const [options, ids] of [
    [{ label: 'nightly' }, [FIRST]],
    [{ label: 'monthly' }, []],
    [{ since: '2026-01-03 11:00+01' }, [SECOND, THIRD]],
    [{ since: '2026-01-03 11:00:00.001+01' }, [SECOND]],
    [{ until: '2026-01-03 10:00Z' }, [FIRST, THIRD]],
    [{ timeline: '0x2' }, [THIRD]],
    [{ latest: 1 }, [SECOND]],
    [{ latest: 2 }, [SECOND, THIRD]],
    [{ latest: 1, until: '2026-01-03 12:00Z' }, [THIRD]],
  ] as const) {
    it(`filters by ${JSON.stringify(options)}`, async () => {
      const { backups, pins, proofs, inProgress } = await listed(options)
      assert.deepEqual(
        backups.map(({ id }) => id),
        ids,
      )
      for (const { id } of [...pins, ...proofs]) assert.ok(backups.some((backup) => backup.id === id))
      assert.equal(inProgress.length, 2)
    })
  }

  for (const [options, says] of [
    [{ since: 'yesterday' }, /wrong value "yesterday" for --since: expected a date/],
    [{ until: '2026-01-01 00:00' }, /for --until: it has no offset/],
    [{ since: '2026-01-02 00:00Z', until: '2026-01-01 00:00Z' }, /--since .* is after --until/],
    [{ timeline: 'latest' }, /wrong value "latest" for --timeline: expected a number/],
    [{ latest: 0 }, /wrong value 0 for --latest/],
  ] as const) {
    it(`refuses ${JSON.stringify(options)}`, async () => {
      await assert.rejects(list(settings, options, context), (error) => {
        assert.ok(error instanceof ToolError && error.code === 'usage')
        assert.match(error.message, says)
        return true
      })
    })
  }

  it('tells what the next expire does, as its dry run plans it, whatever the filter (D7)', async () => {
    const policy = makeSettings({ repository: pathToFileURL(home).href, 'keep-full': 1 })
    const plan = (await expire(policy, { dryRun: true }, context)).backups.map(({ id, action, reasons }) => ({
      ...{ id, action, reasons },
    }))
    assert.deepEqual(plan.map(({ id, action }) => `${id} ${action}`).sort(), [
      `${FIRST} expire`,
      `${SECOND} keep`,
      `${THIRD} expire`,
    ])
    const [all] = await list(policy, {}, context)
    assertValid('list-result', { clusters: [all] })
    assert.deepEqual(all?.retention, plan)
    const text = stripVTControlCharacters(listText([all]))
    assert.match(text, new RegExp(`PIN +RETENTION\\n${FIRST} .* expire\\n${SECOND} .* keep\\n${THIRD} .* expire\\n`))
    const [one] = await list(policy, { latest: 1 }, context)
    assert.deepEqual(
      one?.retention,
      plan.filter(({ id }) => id === SECOND),
    )
    assert.equal((await listed()).retention, null)
  })

  it('shows backups although what says which of them are pinned is damaged, and warns', async () => {
    const key = pinKey(cluster, SECOND, new Date('2026-02-01T00:00:00.000Z'))
    writeFileSync(path.join(home, key), '{}')
    events.length = 0
    try {
      const policy = makeSettings({ repository: pathToFileURL(home).href, 'keep-full': 1 })
      const [found] = await list(policy, {}, context)
      assert.equal(found?.backups.length, 3)
      assert.deepEqual([found.pins, found.retention], [[], null])
      const [warning] = events
      assert.ok(warning?.type === 'warning')
      assert.match(warning.message, /pins are not shown: ".*" is damaged/)
    } finally {
      rmSync(path.join(home, key))
    }
  })
})

describe('listText()', () => {
  const textOf = (clusters: ClusterBackups[], columns?: number): string =>
    stripVTControlCharacters(listText(clusters, columns))

  it('tells everything in a pipe, with ages by the clock of the store', async () => {
    const text = textOf([{ ...(await listed()), time: '2026-01-05T02:00:00.000Z' }])
    const [title, head = '', ...rows] = text.split('\n')
    assert.match(title ?? '', /\(main\)$/)
    assert.deepEqual(
      head.split(/ +/),
      'ID LABEL AGE ENDED SIZE STORED RATIO TOOK RATE WAL PAGES TIMELINE PROOF PIN'.split(' '),
    )
    assert.match(
      rows[0] ?? '',
      new RegExp(`^${FIRST} +nightly +4 d ago +2026-01-01 01:00:00 UTC +1 B .* 1\\.0x .* content, 2 h ago +-$`),
    )
    assert.match(rows[1] ?? '', / weekly +30 h ago .* until 2999-01-01 00:00:00 UTC$/)
    assert.match(rows[2] ?? '', / 40 h ago .* FAILED: 1 fault, 2 h ago/)
    assert.match(text, new RegExp(`^in progress: ${RUNNING}$`, 'm'))
    assert.match(text, new RegExp(`^unfinished: ${WAITING}: "pgsluice backup --finalize ${WAITING}"`, 'm'))
  })

  it('drops columns in a fixed order where a terminal is narrow, says which, and cuts nothing', async () => {
    const clusters = [{ ...(await listed()), inProgress: [] }]
    const whole = textOf(clusters).split('\n')
    const full = Math.max(...whole.map((line) => line.length))
    assert.deepEqual(textOf(clusters, full).split('\n'), whole)
    let before = ''
    for (let width = full - 1; width > 40; width -= 7) {
      const lines = textOf(clusters, width).split('\n')
      const dropped = /^\(too narrow for: (.*)\)$/.exec(lines.at(-1) ?? '')?.[1] ?? ''
      assert.ok(dropped.startsWith('rate') && dropped.startsWith(before), dropped)
      before = dropped
      for (const line of lines.slice(1, -1)) assert.ok(line.length <= width, `${width}: ${line}`)
      for (const id of [FIRST, SECOND, THIRD]) assert.ok(lines.some((line) => line.startsWith(id)))
    }
  })
})
