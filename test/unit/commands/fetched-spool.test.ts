/** The spool of segments that were fetched ahead (G7), in a data directory that holds nothing else. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { FetchedSpool, takeFetched } from '#src/commands/fetched-spool.js'

const DIRECTORY = 'pg_wal/pgsluice/fetched'
const [FIRST, SECOND] = ['000000010000000000000007', '000000010000000000000008']
const ON_NEXT_TIMELINE = '000000020000000000000008'

describe('segments that were fetched ahead', () => {
  const home = process.cwd()
  const { signal } = new AbortController()
  let pgdata: string

  before(() => {
    pgdata = mkdtempSync(join(realpathSync(tmpdir()), 'pgsluice-spool-'))
    process.chdir(pgdata)
  })
  beforeEach(() => {
    rmSync('pg_wal', { recursive: true, force: true })
    mkdirSync('pg_wal')
  })
  after(() => {
    process.chdir(home)
    rmSync(pgdata, { recursive: true })
  })

  const take = (place: string, name: string, forMs = 0, quietMs = 60_000): Promise<boolean> =>
    takeFetched(place, name, 'pg_wal/RECOVERYXLOG', { forMs, quietMs, signal })
  const add = (spool: FetchedSpool, name: string): Promise<void> =>
    spool.add(name, (path) => {
      writeFileSync(path, name)
      assert.ok(!existsSync(join(DIRECTORY, name)), 'it has its name only when it is whole')
      return Promise.resolve()
    })

  it('are delivered by rename, each once, and only to the place that they were fetched for', async () => {
    const spool = await FetchedSpool.open('here')
    await add(spool, FIRST)
    assert.equal(await take('elsewhere', FIRST), false)
    assert.equal(await take('here', FIRST), true)
    assert.equal(readFileSync('pg_wal/RECOVERYXLOG', 'utf8'), FIRST)
    assert.equal(await take('here', FIRST), false)
    await spool.close()
    assert.deepEqual(readdirSync('pg_wal/pgsluice'), [])
  })

  it('are waited for while they are on their way, and no longer than a standby can wait', async () => {
    const spool = await FetchedSpool.open('here')
    await spool.announce(FIRST)
    await assert.rejects(take('here', FIRST, 50), { code: 'storage', message: /"0+1.*7" is being fetched/ })
    const taking = take('here', FIRST, 60_000)
    await add(spool, FIRST)
    assert.equal(await taking, true)
  })

  it('are not waited for when the process that fetches them is gone', async () => {
    const gone = 2 ** 22 + 1 // above every pid of this system
    await FetchedSpool.prepare('here', gone, FIRST)
    assert.equal(await take('here', FIRST, 60_000), false)
  })

  it('are not waited for when what has its process id by now, or its remains, fetches nothing', async () => {
    await FetchedSpool.prepare('here', process.ppid, FIRST)
    assert.equal(await take('here', FIRST, Infinity, 100), false)
  })

  it('are forgotten when recovery goes to another timeline, and who fetched them leaves the next ones alone', async () => {
    const old = await FetchedSpool.open('here')
    await add(old, FIRST)
    await old.announce(SECOND)
    await FetchedSpool.prepare('here', process.ppid, ON_NEXT_TIMELINE)
    assert.equal(await old.isOurs(), false)
    await old.close()
    assert.deepEqual(readdirSync(DIRECTORY).sort(), [`${ON_NEXT_TIMELINE}.coming`, 'place'])
    assert.equal(await take('here', FIRST), false)
  })
})
