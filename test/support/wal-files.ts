/** WAL files of every kind from a real server, kept in its pg_wal, for tests that push and fetch them one by one. */
import { copyFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { FRONT } from './command-line.js'
import { nameOf, type Repository } from './pgsluice.js'
import { query, startCluster, withClient, type Cluster } from './postgres.js'
import { giveToServerUser, runAsServerUser, type ProgramResult } from './server-user.js'

/** A cluster that is down, and the names of files in its pg_wal. */
export interface WalFiles extends AsyncDisposable {
  cluster: Cluster
  /** Its part of a repository. */
  name: string
  /** Complete segments, one after the other. */
  segments: [string, string, string, ...string[]]
  partial: string
  history: string
  backup: string
  path: (name: string) => string
}

/** Makes them. `own` gives the cluster a system identifier that no other has. */
export async function makeWalFiles(major: number, own = false): Promise<WalFiles> {
  // An empty archive_command keeps everything in pg_wal.
  const settings = { archive_mode: 'on', archive_command: '' }
  const cluster = await startCluster({ major, settings, ownInitdb: own, walSegmentSizeMb: 1 })
  for (let n = 0; n < 4; n++) {
    await query(cluster, `create table t${n} as select md5(i::text) from generate_series(1, 1000) i`)
    await query(cluster, 'select pg_switch_wal()')
  }
  await withClient(cluster, async (client) => {
    await client.query(major >= 15 ? `select pg_backup_start('x', true)` : `select pg_start_backup('x', true, false)`)
    await client.query(major >= 15 ? 'select pg_backup_stop(false)' : 'select pg_stop_backup(false, false)')
  })
  const name = await nameOf(cluster)
  await cluster.stop()
  const wal = path.join(cluster.pgdata, 'pg_wal')
  const names = readdirSync(wal)
  const [first, second, third, ...others] = names.filter((each) => /^[0-9A-F]{24}$/.test(each)).sort()
  const partial = `${first!}.partial`
  copyFileSync(path.join(wal, first!), path.join(wal, partial))
  writeFileSync(path.join(wal, '00000002.history'), '1\t0/3000000\tno recovery target specified\n')
  await giveToServerUser(wal)
  return {
    cluster,
    name,
    segments: [first!, second!, third!, ...others],
    partial,
    history: '00000002.history',
    backup: names.find((each) => each.endsWith('.backup'))!,
    path: (file) => path.join(wal, file),
    [Symbol.asyncDispose]: () => cluster.destroy(),
  }
}

/** The key of a WAL file in a repository, as docs/repository-format.md has it. */
export function walKeyOf(files: WalFiles, file: string): string {
  const folder = file.endsWith('.history') ? '' : `${file.slice(0, 8)}/${file.slice(8, 16)}/`
  return `${files.name}/wal/${folder}${file}.zst`
}

/** Runs the shell front as a server does: by a shell, in a directory that says which cluster it is. */
export function runFront(
  line: string,
  repository: Repository,
  options: { cwd: string; env?: NodeJS.ProcessEnv; node?: string },
): Promise<ProgramResult> {
  const front = `${quoteShell(FRONT)} --node ${quoteShell(options.node ?? process.execPath)}`
  const env = { ...repository.env, ...options.env }
  return runAsServerUser('/bin/sh', ['-c', `${front} ${line}`], { cwd: options.cwd, env })
}
