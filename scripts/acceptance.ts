/**
 * The main job at size, measured: a pgbench cluster is backed up into a real S3 server while eight clients write to it,
 * destroyed, and restored by another user of the system with only the bucket's credentials. Proven by the ledger,
 * pg_verifybackup, amcheck and pg_visibility; beside it `tar | zstd` and pg_basebackup on the same data.
 *
 *   PGSLUICE_REPOSITORY=s3://bucket/prefix AWS_ENDPOINT_URL_S3=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… \
 *     npm run acceptance -- [SCALE]      SCALE: of pgbench, 16 MB each; default 270, about 4 GB
 *
 * Prints a table in Markdown. Needs the client programs (scripts/install-oracles.mjs), tar, zstd and root, which alone
 * can change the user.
 */
import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { checkIntegrity } from '../test/support/integrity.js'
import { startLedger, verifyLedger } from '../test/support/ledger.js'
import { findOracles, ROOT } from '../test/support/oracles.js'
import { query, startCluster, type Cluster } from '../test/support/postgres.js'
import { waitUntil } from '../test/support/wait.js'
import { baseDirectory, runProgram, serverIds, serverUser } from '../test/support/server-user.js'

const MAJOR = 18
const CLIENTS = 8
const PGSLUICE = join(ROOT, 'dist/main.js')

interface Measured {
  wall: number
  user: number
  system: number
  peakKiB: number
  stdout: string
}

const scale = Number(process.argv[2] ?? 270)
const repository = process.env['PGSLUICE_REPOSITORY']
const oracles = findOracles(MAJOR)
assert.ok(repository, 'PGSLUICE_REPOSITORY names the bucket')
assert.ok(oracles, 'the client programs are missing: node scripts/install-oracles.mjs')
assert.ok(serverUser(), 'only root can restore as another user')
const nobody = { uid: 65534, gid: 65534 }
const work = mkdtempSync(join(baseDirectory(), 'acceptance-'))
chmodSync(work, 0o777)
const results: [string, Measured][] = []

/** Runs a command as a user and keeps what it cost. */
async function measure(
  name: string,
  command: readonly string[],
  options: { as: { uid?: number; gid?: number }; env?: NodeJS.ProcessEnv },
): Promise<Measured> {
  const out = join(work, 'measured.json')
  rmSync(out, { force: true })
  const { AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, PATH } = process.env
  const env = {
    PATH,
    HOME: work,
    AWS_ENDPOINT_URL_S3,
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_REGION,
    ...options.env,
  }
  const args = [join(ROOT, 'scripts/measure.py'), out, ...command]
  const { exitCode, stdout, stderr } = await runProgram('python3', args, { ...options.as, env, cwd: work })
  assert.equal(exitCode, 0, `${name}: ${stdout}${stderr}`)
  const measured = { ...(JSON.parse(readFileSync(out, 'utf8')) as Omit<Measured, 'stdout'>), stdout }
  results.push([name, measured])
  console.error(`${name}: ${measured.wall.toFixed(1)} s`)
  return measured
}

async function fill(cluster: Cluster): Promise<number> {
  const init = await oracles?.run('pgbench', ['-i', '-q', '-s', String(scale)], { env: cluster.env })
  assert.equal(init?.exitCode, 0, init?.stderr)
  await query(cluster, 'checkpoint')
  await archiveAll(cluster) // the WAL of the filling is no part of what is measured
  const [row] = await query<{ bytes: string }>(
    cluster,
    'select sum(pg_database_size(oid))::text as bytes from pg_database',
  )
  return Number(row?.bytes)
}

async function main(): Promise<void> {
  const archiveCommand = `sh ${join(ROOT, 'dist/pgsluice-wal')} --node ${process.execPath} push "%p" --repository ${repository ?? ''}`
  const settings = {
    wal_level: 'replica',
    archive_mode: 'on',
    archive_command: archiveCommand,
    max_wal_size: '8GB',
    fsync: 'on',
    shared_buffers: '256MB',
  }
  const cluster = await startCluster({ major: MAJOR, settings, ownInitdb: true, env: { ...process.env } })
  let restored: Cluster | undefined
  try {
    const bytes = await fill(cluster)
    console.error(`cluster of ${(bytes / 1e9).toFixed(2)} GB`)
    const pgenv = { ...cluster.env }
    const backupCommand = ['node', PGSLUICE, 'backup', '--repository', repository ?? '', '--json']
    const ledger = await startLedger(cluster, { clients: CLIENTS })
    await ledger.advance(1000)
    const before = ledger.acknowledged()
    await measure(`pgsluice backup, ${CLIENTS} clients writing`, backupCommand, { as: serverIds(), env: pgenv })
    const clusterName = /"cluster":"([^"]+)"/.exec(results[0]?.[1].stdout ?? '')?.[1] ?? ''
    const during = ledger.acknowledged() - before
    await ledger.advance(1000)
    const acknowledged = await ledger.stop()
    await query(cluster, 'checkpoint')
    await measure('pgsluice backup, server idle', backupCommand, { as: serverIds(), env: pgenv })
    await measure(
      'tar | zstd -1 -T2, into nothing',
      ['sh', '-c', `tar -C "${cluster.pgdata}" --exclude=./pg_wal -cf - . | zstd -q -1 -T2 > /dev/null`],
      { as: serverIds() },
    )
    const basebackup = [
      'pg_basebackup',
      '-Ft',
      '-D',
      '-',
      '-X',
      'none',
      '-c',
      'fast',
      '--compress=client-zstd:level=1,workers=2',
      '--no-manifest',
    ]
    const program = oracles?.program('pg_basebackup') ?? ''
    await measure(
      'pg_basebackup -Ft, client-zstd:1 with 2 workers, into nothing',
      [
        'sh',
        '-c',
        `LD_LIBRARY_PATH=${join(program, '../../lib')} ${program} ${basebackup.slice(1).join(' ')} > /dev/null`,
      ],
      { as: serverIds(), env: pgenv },
    )
    await archiveAll(cluster)
    await cluster.crash()
    rmSync(cluster.pgdata, { recursive: true })

    const target = join(work, 'restored')
    mkdirSync(target, { mode: 0o700 })
    chownSync(target, nobody.uid, nobody.gid)
    const restoreCommand = [
      'node',
      PGSLUICE,
      'restore',
      'latest',
      '--target-dir',
      target,
      '--repository',
      repository ?? '',
      '--cluster',
      clusterName,
      '--json',
    ]
    await measure('pgsluice restore, as another user', restoreCommand, { as: nobody })
    const verified = await oracles?.run('pg_verifybackup', ['-n', target], {})
    assert.equal(verified?.exitCode, 0, verified?.stderr)
    restored = await startCluster({ major: MAJOR, directory: target, env: { ...process.env } })
    const server = restored
    await waitUntil('the end of recovery', async () => {
      const [row] = await query<{ answer: boolean }>(server, 'select pg_is_in_recovery() as answer')
      return row?.answer === false
    })
    const rows = await verifyLedger(restored, acknowledged, { extra: 'any' })
    const integrity = await checkIntegrity(restored)
    printTable(bytes)
    console.log(
      `\n${acknowledged.length} acknowledged commits, ${during} of them while the backup ran; ${rows.entries} rows found, none missing. `,
    )
    console.log(
      `pg_verifybackup: ${verified.stdout.trim()}; amcheck and pg_visibility: ${integrity.heaps} tables and ${integrity.indexes} indexes clean.`,
    )
  } finally {
    await restored?.destroy()
    await cluster.destroy()
    rmSync(work, { recursive: true, force: true })
  }
}

/** Switches to a new segment and waits until the archive has all before it. */
async function archiveAll(cluster: Cluster): Promise<void> {
  // a segment that holds nothing of worth is not switched
  await query(cluster, `select pg_logical_emit_message(false, 'acceptance', 'end of segment')`)
  const [last] = await query<{ segment: string }>(cluster, `select pg_walfile_name(pg_switch_wal() - 1) as segment`)
  for (;;) {
    const [row] = await query<{ last: string | null }>(
      cluster,
      'select last_archived_wal as last from pg_stat_archiver',
    )
    if (row !== undefined && (row.last ?? '') >= (last?.segment ?? '')) return
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

function printTable(bytes: number): void {
  console.log(`PostgreSQL ${MAJOR}, ${(bytes / 1e9).toFixed(2)} GB, pgbench scale ${scale}\n`)
  console.log(
    '| | wall s | CPU s | peak RSS MiB, largest process | wall ratio to tar \\| zstd |\n|---|---|---|---|---|',
  )
  const base = results.find(([name]) => name.startsWith('tar'))?.[1].wall ?? 1
  for (const [name, { wall, user, system, peakKiB }] of results) {
    const cells = [
      name.replace('|', '\\|'),
      wall.toFixed(1),
      (user + system).toFixed(1),
      (peakKiB / 1024).toFixed(0),
      (wall / base).toFixed(2),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
}

await main()
