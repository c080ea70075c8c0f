/**
 * Asks PostgreSQL itself whether a cluster is sound: every heap, every B-tree against its heap, and the visibility map,
 * which amcheck does not look at and whose errors return deleted rows (EXP1).
 */
import assert from 'node:assert/strict'
import type { Client } from 'pg'
import { query, withClient, type Cluster } from './postgres.js'

/** How much was looked at, so that a test can see that it was not nothing. */
export interface IntegrityFindings {
  databases: number
  heaps: number
  indexes: number
}

const HEAPS = `
  select c.oid::text as oid, c.oid::regclass::text as name from pg_class c join pg_am a on a.oid = c.relam
  where a.amname = 'heap' and c.relkind in ('r', 'm', 't') and c.relpersistence <> 't' order by c.oid`
const INDEXES = `
  select c.oid::text as oid, c.oid::regclass::text as name
  from pg_class c join pg_am a on a.oid = c.relam join pg_index i on i.indexrelid = c.oid
  where a.amname = 'btree' and c.relkind = 'i' and c.relpersistence <> 't' and i.indisvalid and i.indisready order by c.oid`

/**
 * Checks every database that takes connections; fails naming each relation that is damaged. The extensions are created
 * where they are missing, so the cluster must not be in recovery unless they are there already.
 */
export async function checkIntegrity(cluster: Cluster): Promise<IntegrityFindings> {
  const findings = { databases: 0, heaps: 0, indexes: 0 }
  const problems: string[] = []
  const databases = await query<{ name: string }>(cluster, 'select datname as name from pg_database where datallowconn')
  for (const { name } of databases) {
    await withClient(cluster, (client) => checkDatabase(client, name, findings, problems), name)
    findings.databases += 1
  }
  assert.deepEqual(problems, [], 'the cluster is damaged')
  return findings
}

async function checkDatabase(
  client: Client,
  database: string,
  findings: IntegrityFindings,
  problems: string[],
): Promise<void> {
  const recovery = await client.query<{ yes: boolean }>('select pg_is_in_recovery() as yes')
  if (recovery.rows[0]?.yes !== true) {
    await client.query('create extension if not exists amcheck; create extension if not exists pg_visibility')
  }
  const version = await client.query<{ n: number }>(`select current_setting('server_version_num')::int as n`)
  const checks = [
    'select tid::text from pg_check_visible($1::oid::regclass) t(tid)',
    'select tid::text from pg_check_frozen($1::oid::regclass) t(tid)',
  ]
  if ((version.rows[0]?.n ?? 0) >= 140_000) {
    checks.push(
      `select format('block %s, line pointer %s: %s', blkno, offnum, msg) from verify_heapam($1::oid::regclass)`,
    )
  }
  const look = async (name: string, sql: string, oid: string): Promise<void> => {
    try {
      const found = await client.query({ text: sql, values: [oid], rowMode: 'array' })
      for (const row of found.rows) if (row[0] !== '') problems.push(`${database}, ${name}: ${String(row[0])} (${sql})`)
    } catch (error) {
      // 42P01, XX000 "could not open relation": dropped since it was listed, by autovacuum's or a client's work.
      const gone = await client.query('select from pg_class where oid = $1', [oid])
      if (gone.rowCount !== 0) problems.push(`${database}, ${name}: ${String(error)}`)
    }
  }
  for (const { oid, name } of (await client.query<{ oid: string; name: string }>(HEAPS)).rows) {
    for (const check of checks) await look(name, check, oid)
    findings.heaps += 1
  }
  for (const { oid, name } of (await client.query<{ oid: string; name: string }>(INDEXES)).rows) {
    // heapallindexed: every row of the heap must be found in the index, not only what is in the index be in order.
    await look(name, 'select bt_index_check($1::oid::regclass, true)::text', oid)
    findings.indexes += 1
  }
}
