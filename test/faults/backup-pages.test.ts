/** Corrupt pages are found, named and kept in the record (C5, C9, C10); pages that are being written are none (C4). */
import assert from 'node:assert/strict'
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { parseLsn } from '#src/postgres/lsn.js'
import { Scene } from '../support/backup-scene.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { startLedger, verifyLedger } from '../support/ledger.js'
import { openClient, query, startCluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const BLOCK = 8192
const ROUNDS = 3
const obstacle = await whyNoCommandLine()

describe('backup of a cluster with data checksums', { skip: obstacle ?? false }, () => {
  let scene: Scene

  before(async () => {
    // a cache of 32 pages, so that what is changed is written at once, again and again
    scene = await Scene.open({ settings: { shared_buffers: '256kB', max_connections: 20, autovacuum: 'off' } })
  })
  after(() => scene.close())
  afterEach(() => scene.tidy())

  async function makeTable(name: string): Promise<string> {
    const { cluster } = scene
    await query(cluster, `create table ${name} as select i, repeat('x', 500) as filler from generate_series(1, 200) i`)
    await query(cluster, `vacuum (freeze) ${name}`)
    await query(cluster, 'checkpoint')
    const [row] = await query<{ file: string }>(cluster, `select pg_relation_filepath('${name}') as file`)
    return row!.file
  }

  function corrupt(file: string, block: number): () => void {
    const descriptor = openSync(path.join(scene.cluster.pgdata, file), 'r+')
    const [before, at] = [Buffer.alloc(64), block * BLOCK + 4000]
    readSync(descriptor, before, 0, before.length, at)
    writeSync(
      descriptor,
      before.map((byte) => byte ^ 0x55),
      0,
      before.length,
      at,
    )
    return () => {
      writeSync(descriptor, before, 0, before.length, at)
      closeSync(descriptor)
    }
  }

  test('backup of corrupt pages is complete, ends with 5, and everybody says so (C9, C10)', async () => {
    const file = await makeTable('damaged')
    const repairs = [corrupt(file, 2), corrupt(file, 3), corrupt(file, 7), corrupt(`${file}_vm`, 0)]
    const { exitCode, stderr, lines } = await scene.run(['backup', '--json'])
    assert.equal(exitCode, 5, stderr)
    const found = lines.flatMap((line) => (line.type === 'page-errors-found' ? [line] : []))
    assert.deepEqual(
      found
        .map(({ path: name, fork, pages, firstBlock, ranges }) => ({ name, fork, pages, firstBlock, ranges }))
        .sort((a, b) => b.pages - a.pages),
      [
        { name: file, fork: 'main', pages: 3, firstBlock: 2, ranges: '2-3, 7' },
        { name: `${file}_vm`, fork: 'vm', pages: 1, firstBlock: 0, ranges: '0' },
      ],
    )
    const text = await scene.run(['backup', '--quiet'])
    assert.equal(text.exitCode, 5)
    assert.ok(text.stderr.includes(`3 corrupt pages in "${file}" (main fork), blocks 2-3, 7`), text.stderr)

    const [key = ''] = scene.records()
    const record = JSON.parse((await scene.get(key))!.toString()) as { id: string; totals: { pageErrors: number } }
    assert.equal(record.totals.pageErrors, 4)
    assert.match((await scene.run(['list'])).stdout, /4 corrupt/)
    const { stdout } = await scene.run(['show', record.id])
    assert.match(stdout, /page errors +4/)
    assert.ok(stdout.includes(`3 in "${file}" (main fork), first at block 2`), stdout)
    await scene.assertNoSession()

    for (const repair of repairs) repair()
    scene.tidy()
    await scene.backUp()
  })

  test('backup restores corrupt pages as they were: nothing is left out or made up (C9)', async () => {
    const file = await makeTable('kept')
    const repair = corrupt(file, 1)
    const home = newHome()
    try {
      await giveToServerUser(home)
      assert.equal((await scene.run(['backup', '--quiet'])).exitCode, 5)
      const target = path.join(home, 'target')
      const { exitCode, stderr } = await scene.run(['restore', '--quiet', '--target-dir', target])
      assert.equal(exitCode, 0, stderr)
      const page = (directory: string): Buffer => {
        const bytes = Buffer.alloc(BLOCK)
        const descriptor = openSync(path.join(directory, file), 'r')
        readSync(descriptor, bytes, 0, BLOCK, BLOCK)
        closeSync(descriptor)
        return bytes
      }
      assert.ok(page(target).equals(page(scene.cluster.pgdata)))
    } finally {
      repair()
      removeHome(home)
    }
  })

  test(`backup takes no page that is being written for a corrupt one, in ${ROUNDS} rounds under load (C4, C5)`, async () => {
    const { cluster } = scene
    await query(cluster, `create table busy (id int primary key, n int, filler text) with (fillfactor = 50)`)
    await query(cluster, `insert into busy select i, 0, repeat('x', 300) from generate_series(1, 4000) i`)
    let stopping = false
    const written: bigint[] = []
    // The load is for the time in which pages are read: what it writes afterwards would only keep the archiver busy.
    let [turn, resume] = gate()
    resume()
    const write = async (writer: number): Promise<void> => {
      const client = await openClient(cluster)
      try {
        while (!stopping) {
          await turn
          await client.query('update busy set n = n + 1 where id % 3 = $1 and random() < 0.03', [writer - 1])
          const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn')
          written.push(parseLsn(rows[0]!.lsn))
        }
      } finally {
        await client.end()
      }
    }
    const writers = Promise.all([1, 2, 3].map(write))
    writers.catch(() => undefined) // awaited below
    const ledger = await startLedger(cluster, { clients: 2 })
    try {
      for (let round = 1; round <= ROUNDS; round++) {
        resume()
        // so slow that many updates are in between, however busy the machine is
        const backup = await scene.start(['backup', '--json', '--max-rate', '24MB/s'])
        await backup.waitForEvent('backup-stopped')
        ;[turn, resume] = gate()
        const { exitCode, stdout, stderr, lines } = await backup.ended
        assert.equal(exitCode, 0, `round ${round}: ${stdout}${stderr}`)
        const [from, to] = lines.flatMap((line) =>
          line.type === 'backup-started' ? [line.startLsn] : line.type === 'backup-stopped' ? [line.stopLsn] : [],
        )
        const during = written.filter((lsn) => lsn > parseLsn(from!) && lsn < parseLsn(to!))
        assert.ok(during.length > 3, `the load went on: ${during.length} updates`)
      }
    } finally {
      stopping = true
      resume()
      await writers
    }
    const acknowledged = await ledger.stop()
    const [row] = await query<{ segment: string }>(cluster, 'select pg_walfile_name(pg_current_wal_lsn()) as segment')
    await query(cluster, 'select pg_switch_wal()')
    await waitUntil(`"${row!.segment}" in the archive`, () => scene.keys(new RegExp(row!.segment)).length > 0)
    const home = newHome()
    try {
      await giveToServerUser(home)
      const target = path.join(home, 'target')
      assert.equal((await scene.run(['restore', '--quiet', '--target-dir', target])).exitCode, 0)
      await using restored = await startCluster({
        major: cluster.major,
        directory: target,
        env: scene.env,
        settings: { shared_buffers: '16MB' },
      })
      await restored.waitForLog(/archive recovery complete/)
      await verifyLedger(restored, acknowledged)
    } finally {
      removeHome(home)
    }
  })
})

/** A promise, and what fulfils it. */
function gate(): [Promise<void>, () => void] {
  let open = (): void => undefined
  const passed = new Promise<void>((resolve) => (open = resolve))
  return [passed, open]
}
