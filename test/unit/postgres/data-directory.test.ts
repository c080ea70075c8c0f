import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { walkDataDirectory, type DataEntry, type WalkOptions } from '#src/postgres/data-directory.js'

const VERSION_DIRECTORY = 'PG_18_202506291'

/** A data directory with the given files (a name that ends in `/` is a directory) and a pg_control. */
function dataDirectory(t: TestContext, files: string[]): { pgdata: string; outside: string } {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'data-directory-')))
  t.after(() => rmSync(root, { recursive: true }))
  const pgdata = join(root, 'data')
  const outside = join(root, 'outside')
  mkdirSync(pgdata, { mode: 0o700 })
  mkdirSync(outside)
  for (const file of ['global/pg_control', ...files]) put(pgdata, file)
  return { pgdata, outside }
}

function put(root: string, file: string): void {
  const path = join(root, file)
  mkdirSync(file.endsWith('/') ? path : dirname(path), { recursive: true })
  if (!file.endsWith('/')) writeFileSync(path, 'x')
}

async function walk(pgdata: string, options: Partial<WalkOptions> = {}): Promise<DataEntry[]> {
  const entries: DataEntry[] = []
  const all = { pgdata, major: 18, catalogVersion: 202506291, tablespaces: [], ...options }
  for await (const entry of walkDataDirectory(all)) entries.push(entry)
  return entries
}

/** `kind path` of all entries, sorted. */
function summary(entries: DataEntry[]): string[] {
  return entries.map(({ kind, path }) => `${kind} ${path.toString('latin1')}`).sort()
}

test('files and directories come with their facts, directories before their contents', async (t) => {
  const { pgdata } = dataDirectory(t, ['base/5/16384.1', 'base/5/PG_VERSION', 'pg_xact/0000'])
  chmodSync(join(pgdata, 'base/5/16384.1'), 0o640)
  const entries = await walk(pgdata)
  const paths = entries.map(({ path }) => path.toString())
  assert.deepEqual(paths.toSorted(), [
    'base',
    'base/5',
    'base/5/16384.1',
    'base/5/PG_VERSION',
    'global',
    'global/pg_control',
    'pg_xact',
    'pg_xact/0000',
  ])
  for (const path of paths) {
    if (path.includes('/')) assert.ok(paths.indexOf(dirname(path)) < paths.indexOf(path), path)
  }
  const file = entries.find(({ path }) => path.toString() === 'base/5/16384.1')
  assert.deepEqual(file?.relation, { fork: 'main', segment: 1, relfilenumber: 16384 })
  assert.equal(file.size, 1)
  assert.equal(file.mode, 0o640)
  assert.ok(Math.abs(file.mtimeMs - Date.now()) < 60_000)
})

test('excluded names and contents stay out, emptied directories stay', async (t) => {
  const { pgdata } = dataDirectory(t, [
    'postmaster.pid',
    'standby.signal',
    'conf.d/standby.signal',
    'base/pgsql_tmp/pgsql_tmp1.0',
    'base/5/pg_internal.init',
    'pg_replslot/slot/state',
    'pg_stat_tmp/global.stat',
    'stats/db_0.stat',
    'log/postgresql.log',
    'pg_wal/000000010000000000000001',
    'pg_wal/archive_status/000000010000000000000001.done',
  ])
  const kept = [
    'directory base',
    'directory base/5',
    'directory conf.d',
    'directory global',
    'directory log',
    'directory pg_replslot',
    'directory pg_stat_tmp',
    'directory pg_wal',
    'directory pg_wal/archive_status',
    'directory pg_wal/summaries',
    'directory stats',
    'file conf.d/standby.signal',
    'file global/pg_control',
    'file log/postgresql.log',
  ]
  assert.deepEqual(summary(await walk(pgdata)), [...kept, 'file stats/db_0.stat'])
  for (const statsTempDirectory of ['stats', './stats', join(pgdata, 'stats/')]) {
    const entries = await walk(pgdata, { major: 14, statsTempDirectory })
    assert.deepEqual(
      summary(entries),
      kept.filter((line) => !line.endsWith('summaries')),
    )
  }
})

test('unlogged relations keep their init fork only, temporary ones nothing', async (t) => {
  const { pgdata } = dataDirectory(t, [
    ...['16384', '16384.1', '16384_fsm', '16384_init', '16385', '16385_vm', 't3_16386', 't3_16386_fsm'].map(
      (name) => `base/5/${name}`,
    ),
    'other/5/16384',
    'other/5/16384_init',
    'other/5/t3_16386',
  ])
  const files = (await walk(pgdata)).filter(({ kind }) => kind === 'file')
  assert.deepEqual(summary(files), [
    'file base/5/16384_init',
    'file base/5/16385',
    'file base/5/16385_vm',
    'file global/pg_control',
    'file other/5/16384',
    'file other/5/16384_init',
    'file other/5/t3_16386',
  ])
  const relations = files.filter(({ relation }) => relation !== undefined)
  assert.deepEqual(relations.map(({ relation }) => relation?.fork).sort(), ['init', 'main', 'vm'])
})

test('an init fork made after its directory was listed counts', async (t) => {
  const { pgdata } = dataDirectory(t, ['base/5/16384', 'base/5/16385'])
  const seen: string[] = []
  const options = { pgdata, major: 18, catalogVersion: 1, tablespaces: [], yieldEvery: 1 }
  for await (const { path } of walkDataDirectory(options)) {
    seen.push(path.toString())
    if (/base\/5\/1638[45]$/.test(path.toString())) {
      const other = path.toString().endsWith('4') ? '16385' : '16384'
      put(pgdata, `base/5/${other}_init`)
    }
  }
  assert.equal(seen.filter((path) => path.startsWith('base/5/1638')).length, 1)
})

test('what vanishes during the walk is no error', async (t) => {
  const { pgdata } = dataDirectory(t, ['base/5/1', 'base/5/2', 'base/6/1'])
  const seen: string[] = []
  for await (const { path } of walkDataDirectory({ pgdata, major: 18, catalogVersion: 1, tablespaces: [] })) {
    seen.push(path.toString())
    if (path.toString() === 'base/5') rmSync(join(pgdata, 'base/5'), { recursive: true })
    if (path.toString() === 'base/6') unlinkSync(join(pgdata, 'base/6/1'))
  }
  assert.ok(!seen.some((path) => /^base\/[56]\//.test(path)))
})

test('links and special files are skipped with a reason, a linked pg_wal becomes a directory', async (t) => {
  const { pgdata, outside } = dataDirectory(t, [])
  put(outside, 'wal/000000010000000000000001')
  put(outside, 'server.crt')
  symlinkSync(join(outside, 'wal'), join(pgdata, 'pg_wal'))
  symlinkSync(join(outside, 'wal'), join(pgdata, 'pg_notify'))
  symlinkSync(join(outside, 'server.crt'), join(pgdata, 'server.crt'))
  symlinkSync('nowhere', join(pgdata, 'dangling'))
  symlinkSync('.', join(pgdata, 'loop'))
  execFileSync('mkfifo', [join(pgdata, 'fifo')])
  const entries = await walk(pgdata, { major: 16 })
  assert.deepEqual(summary(entries), [
    'directory global',
    'directory pg_notify',
    'directory pg_wal',
    'directory pg_wal/archive_status',
    'file global/pg_control',
    'skipped dangling',
    'skipped fifo',
    'skipped loop',
    'skipped server.crt',
  ])
  const find = (name: string) => entries.find(({ path }) => path.toString() === name)
  assert.match(find('server.crt')?.reason ?? '', /symbolic link to ".*server\.crt"/)
  assert.equal(find('dangling')?.target?.toString(), 'nowhere')
  assert.match(find('fifo')?.reason ?? '', /a FIFO/)
  assert.equal(find('pg_wal')?.mode, 0o700)
})

test('tablespaces: linked, in place, nested, of other versions, odd, late and lost', async (t) => {
  const { pgdata, outside } = dataDirectory(t, [
    `nested/${VERSION_DIRECTORY}/5/16500`,
    `pg_tblspc/16402/${VERSION_DIRECTORY}/5/16600`,
    'pg_tblspc/backup copy/x',
    'pg_tblspc/pgsql_tmp1/x',
  ])
  const fast = join(outside, 'fast')
  for (const file of ['5/16400', '5/16401', '5/16401_init', '5/t1_1', 'pgsql_tmp/x']) {
    put(fast, `${VERSION_DIRECTORY}/${file}`)
  }
  put(fast, 'PG_17_202406281/5/16400')
  put(fast, 'lost+found/')
  chmodSync(fast, 0o750)
  const link = (oid: number, target: string) => symlinkSync(target, join(pgdata, 'pg_tblspc', String(oid)))
  link(16400, fast)
  link(16401, join(pgdata, 'nested'))
  link(16403, join(outside, 'late'))
  link(16404, join(outside, 'unmounted'))
  mkdirSync(join(outside, 'empty'))
  link(16405, join(outside, 'empty'))
  const tablespaces = [16400, 16401, 16402, 16404, 16405, 16406].map((oid) => ({
    oid,
    location: '',
    inPlace: oid === 16402,
  }))
  const entries = await walk(pgdata, { tablespaces })
  assert.deepEqual(summary(entries), [
    'directory global',
    'directory pg_tblspc',
    'directory pg_tblspc/16400/PG_18_202506291',
    'directory pg_tblspc/16400/PG_18_202506291/5',
    'directory pg_tblspc/16401/PG_18_202506291',
    'directory pg_tblspc/16401/PG_18_202506291/5',
    'directory pg_tblspc/16402',
    'directory pg_tblspc/16402/PG_18_202506291',
    'directory pg_tblspc/16402/PG_18_202506291/5',
    'file global/pg_control',
    'file pg_tblspc/16400/PG_18_202506291/5/16400',
    'file pg_tblspc/16400/PG_18_202506291/5/16401_init',
    'file pg_tblspc/16401/PG_18_202506291/5/16500',
    'file pg_tblspc/16402/PG_18_202506291/5/16600',
    'skipped pg_tblspc/16403',
    'skipped pg_tblspc/16404',
    'skipped pg_tblspc/16405',
    'skipped pg_tblspc/backup copy',
    'tablespace-link pg_tblspc/16400',
    'tablespace-link pg_tblspc/16401',
    'tablespace-link pg_tblspc/16405',
  ])
  const found = entries.find(({ path }) => path.toString() === 'pg_tblspc/16400')
  assert.equal(found?.target?.toString(), fast)
  assert.equal(found.mode, 0o750)
  const file = entries.find(({ path }) => path.toString().endsWith('/16400') && path.includes('PG_'))
  assert.deepEqual(file?.relation, { fork: 'main', segment: 0, relfilenumber: 16400 })
})

test('names are bytes', async (t) => {
  const { pgdata } = dataDirectory(t, [])
  const name = Buffer.from([0x6e, 0xff, 0xfe, 0x0a, 0x22])
  try {
    writeFileSync(Buffer.concat([Buffer.from(`${pgdata}/`), name]), 'x')
  } catch {
    t.skip('this file system takes UTF-8 names only')
    return
  }
  put(pgdata, 'größe/日本')
  const paths = (await walk(pgdata)).map(({ path }) => path)
  assert.ok(paths.some((path) => path.equals(name)))
  assert.ok(paths.some((path) => path.equals(Buffer.from('größe/日本'))))
})

test('a data directory may be reached through a link and have any name', async (t) => {
  const { pgdata, outside } = dataDirectory(t, ['base/5/1'])
  const alias = join(outside, 'größe')
  symlinkSync(pgdata, alias)
  assert.deepEqual(summary(await walk(alias)), summary(await walk(pgdata)))
})

test('a directory without pg_control, or none at all, is an error', async (t) => {
  const { pgdata } = dataDirectory(t, [])
  unlinkSync(join(pgdata, 'global/pg_control'))
  await assert.rejects(walk(pgdata), { code: 'damaged', message: /no global\/pg_control/ })
  await assert.rejects(walk(join(pgdata, 'größe')), { code: 'file-system', message: /größe.*ENOENT/ })
})

test('a directory that cannot be read is an error that names it', async (t) => {
  if (process.getuid?.() === 0) {
    t.skip('this machine cannot show it to root, who can read everything')
    return
  }
  const { pgdata } = dataDirectory(t, ['base/5/1'])
  chmodSync(join(pgdata, 'base/5'), 0)
  try {
    await assert.rejects(walk(pgdata), { code: 'file-system', message: /base\/5.*EACCES/ })
  } finally {
    chmodSync(join(pgdata, 'base/5'), 0o700)
  }
})

test('the walk stops when it is aborted, and lets timers run', async (t) => {
  const { pgdata } = dataDirectory(
    t,
    Array.from({ length: 50 }, (_, index) => `base/5/t1_${index + 1}`),
  )
  const controller = new AbortController()
  setImmediate(() => controller.abort())
  await assert.rejects(walk(pgdata, { yieldEvery: 10, signal: controller.signal }), { name: 'AbortError' })
})
