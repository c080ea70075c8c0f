/** The cluster that is backed up, what proves a copy of it, and WAL segments to push. */
import { createHash, randomBytes } from 'node:crypto'
import { appendFileSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { startLedger, verifyLedger } from '../../test/support/ledger.js'
import { query, startCluster, withClient } from '../../test/support/postgres.js'
import { giveToServerUser } from '../../test/support/server-user.js'
import { waitUntil } from '../../test/support/wait.js'
import type { Acknowledged } from '../../test/support/ledger.js'
import type { Cluster } from '../../test/support/postgres.js'
import type { Proof } from './results.js'
import type { Scene, Tool } from './tool.js'

/** The source, and what every copy must have. */
export interface Source {
  cluster: Cluster
  bytes: number
  acknowledged: readonly Acknowledged[]
  /** By table: rows, and a sum over a hash of each row. */
  tables: ReadonlyMap<string, Fingerprint>
}

interface Fingerprint {
  rows: number
  hash: string
}

/** Real, full segments of the source in a directory of their own, with their SHA-256. */
export interface Segments {
  directory: string
  names: readonly string[]
  digests: ReadonlyMap<string, string>
}

/** Shares of the size, as measured on disk with indexes: as a pgbench database, documents, and bytes that nothing compresses. */
const PGBENCH = { share: 0.58, bytesPerRow: 150 }
const DOCUMENTS = { share: 0.28, bytesPerRow: 360 }
const BLOBS = { share: 0.14, bytesPerRow: 1024 }
const BLOBS_PER_INSERT = 1024
/** One may still be of the command before. */
const TOLERATED_FAILURES = 1
const SEGMENT_BYTES = 16 * 1024 * 1024
const ARCHIVE_TIMEOUT_MS = 600_000

/** The contents, in words. */
export const CONTENTS =
  '58 % pgbench rows with their index, 28 % jsonb rows, 14 % incompressible blobs, data checksums on'
/** Makes a cluster of about `size` bytes. It archives into nothing until {@link useArchive} says where to. */
export async function makeSource(major: number, size: number, env: NodeJS.ProcessEnv): Promise<Source> {
  const cluster = await startCluster({
    major,
    ownInitdb: true,
    env,
    settings: {
      archive_mode: 'on',
      archive_command: '/bin/true',
      // Every tool finds the same: nothing but its own work happens meanwhile.
      autovacuum: 'off',
      checkpoint_timeout: '1h',
      max_wal_size: '4GB',
      shared_buffers: '256MB',
    },
  })
  try {
    await fill(cluster, size)
    const ledger = await startLedger(cluster, { clients: 2 })
    await ledger.advance(200)
    const acknowledged = await ledger.stop()
    await query(cluster, 'vacuum freeze analyze')
    await query(cluster, 'checkpoint')
    const [row] = await query<{ bytes: string }>(cluster, 'select sum(pg_database_size(oid)) as bytes from pg_database')
    return { cluster, bytes: Number(row?.bytes), acknowledged, tables: await fingerprint(cluster) }
  } catch (error) {
    await cluster.destroy()
    throw error
  }
}

async function fill(cluster: Cluster, size: number): Promise<void> {
  const rowsOf = ({ share, bytesPerRow }: typeof PGBENCH): number => Math.ceil((size * share) / bytesPerRow)
  await query(
    cluster,
    `create table pgbench_accounts as
       select i as aid, i / 100000 as bid, 0 as abalance, ''::char(84) as filler from generate_series(1, ${rowsOf(PGBENCH)}) i`,
  )
  await query(cluster, 'alter table pgbench_accounts add primary key (aid)')
  await query(
    cluster,
    `create table documents as
       select i as id, jsonb_build_object('id', i, 'name', md5(i::text), 'tags', array[md5((i * 7)::text), 'x', 'y'],
         'n', i * 3, 'text', repeat(md5((i % 1000)::text), 4)) as document
       from generate_series(1, ${rowsOf(DOCUMENTS)}) i`,
  )
  await query(cluster, 'create table blobs (id bigint, content bytea)')
  await withClient(cluster, async (client) => {
    for (let done = 0; done < rowsOf(BLOBS); done += BLOBS_PER_INSERT) {
      await client.query(
        `insert into blobs
           select $1::bigint + i, substring($2::bytea from i * 980 + 1 for 980) from generate_series(0, ${BLOBS_PER_INSERT - 1}) i`,
        [done, randomBytes(BLOBS_PER_INSERT * 980)],
      )
    }
  })
}

async function fingerprint(cluster: Cluster): Promise<Map<string, Fingerprint>> {
  const tables = await query<{ name: string }>(
    cluster,
    `select relname as name from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by relname`,
  )
  const found = new Map<string, Fingerprint>()
  for (const { name } of tables) {
    // Reading every row also lets the server verify the checksum of every page.
    const [row] = await query<{ rows: string; hash: string }>(
      cluster,
      `select count(*) as rows, coalesce(sum(hashtextextended(t::text, 0)), 0)::text as hash from ${name} t`,
    )
    found.set(name, { rows: Number(row?.rows), hash: row?.hash ?? '' })
  }
  return found
}

/** Lets the server archive with a command from now on, and waits until all earlier WAL has gone that way. */
export async function useArchive(cluster: Cluster, command: string): Promise<void> {
  await query(cluster, `alter system set archive_command = '${command.replaceAll("'", "''")}'`)
  await query(cluster, 'select pg_reload_conf()')
  await archiveAll(cluster)
}

/** Waits until all WAL of this moment has gone where the archive_command leads. */
export async function archiveAll(cluster: Cluster): Promise<void> {
  const failures = async (): Promise<number> => {
    const [row] = await query<{ failed: string }>(cluster, 'select failed_count as failed from pg_stat_archiver')
    return Number(row?.failed)
  }
  const before = await failures()
  // A segment that holds nothing of worth is not switched.
  await query(cluster, `select pg_logical_emit_message(false, 'bench', 'end of segment')`)
  const [last] = await query<{ segment: string }>(cluster, `select pg_walfile_name(pg_switch_wal() - 1) as segment`)
  const segment = last?.segment ?? ''
  await waitUntil(
    `"${segment}" to be archived`,
    async () => {
      if ((await failures()) > before + TOLERATED_FAILURES) {
        throw new Error(`the archive_command fails; the log of the server ends so:\n${cluster.logTail()}`)
      }
      const [row] = await query<{ done: boolean }>(
        cluster,
        'select coalesce(last_archived_wal >= $1, false) as done from pg_stat_archiver',
        [segment],
      )
      return row?.done
    },
    ARCHIVE_TIMEOUT_MS,
  )
}

/** Starts a restored directory, and proves that it has what the source had. */
export async function prove(source: Source, tool: Tool, scene: Scene, target: string): Promise<Proof> {
  if (tool.leavesRecoveryToUser) {
    const command = tool.restoreCommand(scene, false)
    appendFileSync(path.join(target, 'postgresql.auto.conf'), `restore_command = '${command.replaceAll("'", "''")}'\n`)
    writeFileSync(path.join(target, 'recovery.signal'), '')
    await giveToServerUser(target)
  }
  const cluster = await startCluster({
    major: source.cluster.major,
    directory: target,
    env: tool.environment({ ...scene, pgdata: target, server: undefined }),
    settings: { archive_mode: 'off' },
  })
  try {
    await waitUntil('the end of recovery', async () => {
      const [row] = await query<{ done: boolean }>(cluster, 'select not pg_is_in_recovery() as done')
      return row?.done
    })
    const { entries } = await verifyLedger(cluster, source.acknowledged)
    const tables = await fingerprint(cluster)
    const [found, expected] = [tables, source.tables].map((one) => JSON.stringify([...one]))
    if (found !== expected) throw new Error(`the restored cluster differs: ${found ?? ''} instead of ${expected ?? ''}`)
    const rows = [...tables.values()].reduce((sum, one) => sum + one.rows, 0)
    return { tool: tool.name, tables: tables.size, rows, ledgerEntries: entries }
  } finally {
    await cluster.destroy()
  }
}

/** Lets the source write as many segments, half full page images and half records of updates, and copies them. */
export async function makeSegments(cluster: Cluster, count: number, directory: string): Promise<Segments> {
  mkdirSync(directory)
  const wal = path.join(cluster.pgdata, 'pg_wal')
  const ready = (): string[] =>
    readdirSync(path.join(wal, 'archive_status'))
      .filter((name) => /^[0-9A-F]{24}\.ready$/.test(name))
      .map((name) => name.slice(0, 24))
      .sort()
  await archiveAll(cluster)
  await query(cluster, `alter system set archive_command = ''`)
  await query(cluster, 'select pg_reload_conf()')
  await loadUntil(cluster, () => Promise.resolve(ready().length >= count))
  const names = ready().slice(0, count)
  const digests = new Map<string, string>()
  for (const name of names) {
    const content = readFileSync(path.join(wal, name))
    writeFileSync(path.join(directory, name), content)
    digests.set(name, createHash('sha256').update(content).digest('hex'))
  }
  await useArchive(cluster, '/bin/true')
  await query(cluster, 'checkpoint')
  return { directory, names, digests }
}

/** Lets the source write about as many segments of the same kind, as they are archived meanwhile. */
export async function writeWal(cluster: Cluster, count: number): Promise<void> {
  const written = async (): Promise<number> => {
    const [row] = await query<{ bytes: string }>(cluster, `select pg_current_wal_lsn() - '0/0' as bytes`)
    return Number(row?.bytes)
  }
  const end = (await written()) + count * SEGMENT_BYTES
  await loadUntil(cluster, async () => (await written()) >= end)
}

async function loadUntil(cluster: Cluster, isEnough: () => Promise<boolean>): Promise<void> {
  await query(
    cluster,
    `create table wal_load as
       select i as id, 0 as n, md5(i::text) as name, ''::char(84) as filler from generate_series(1, 100000) i`,
  )
  for (let run = 0; !(await isEnough()); run += 1) {
    if (run % 4 === 0) await query(cluster, 'checkpoint')
    await query(cluster, `update wal_load set n = n + 1, name = md5(name) where id % 7 = ${run % 7}`)
    await query(cluster, 'vacuum wal_load')
  }
  await query(cluster, 'drop table wal_load')
}

/** A directory that a WAL command takes for the data directory of the cluster: what tells which cluster it is, and pg_wal. */
export function makeWalDirectory(cluster: Cluster, directory: string): void {
  for (const name of ['global', 'pg_wal', 'pg_wal/archive_status']) {
    mkdirSync(path.join(directory, name), { recursive: true, mode: 0o700 })
  }
  for (const name of ['PG_VERSION', 'global/pg_control']) {
    copyFileSync(path.join(cluster.pgdata, name), path.join(directory, name))
  }
}
