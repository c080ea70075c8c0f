/**
 * A workload that can tell, from nothing but a restored cluster, whether a commit was lost or half a commit came back.
 *
 * Each client writes signed entries with consecutive numbers and moves amounts between accounts in the same
 * transactions. A client notes a commit only after the server acknowledged it, and waits for it before the next. So at
 * every point in time that a recovery may end at:
 * - the entries of a client are 1..n without a gap, n at least its last acknowledged one and at most one more;
 * - the signature of every entry is right;
 * - all balances together are zero, and each is what the transfers in the entries say.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes, randomInt } from 'node:crypto'
import { reasonOf } from '#src/errors.js'
import { openClient, withClient, type Cluster } from './postgres.js'
import { waitUntil } from './wait.js'

/** One commit that the server acknowledged. */
export interface Acknowledged {
  /** The client, unique among all ledgers that ever ran. */
  client: string
  /** The number of the entry, from 1. */
  sequence: number
}

/** How much load. */
export interface LedgerOptions {
  clients: number
  payloadBytes?: number
}

/** A running workload. */
export interface Ledger {
  /** How many commits were acknowledged so far. */
  acknowledged(): number
  /** The commits acknowledged so far. */
  snapshot(): Acknowledged[]
  /** Waits for that many more commits; rejects when all clients have ended before. */
  advance(commits: number): Promise<void>
  /** Ends the clients after their current transaction; a server that is gone is no error. */
  stop(): Promise<Acknowledged[]>
}

const ACCOUNTS = 100
const SCHEMA = `
  create table if not exists ledger_account (id int primary key, balance bigint not null);
  create table if not exists ledger_entry (
    client text not null, sequence bigint not null, amount int not null, debit int not null, credit int not null,
    payload text not null, signature text not null, primary key (client, sequence)
  );
  create index if not exists ledger_entry_signature on ledger_entry (signature);
  insert into ledger_account select id, 0 from generate_series(1, ${ACCOUNTS}) id on conflict do nothing`

/** Starts the workload in the database `postgres` of a cluster; it resolves when the tables are there. */
export async function startLedger(cluster: Cluster, options: LedgerOptions): Promise<Ledger> {
  await withClient(cluster, (client) => client.query(SCHEMA))
  const run = randomBytes(4).toString('hex')
  const acknowledged: Acknowledged[] = []
  const errors: unknown[] = []
  const state = { stopping: false, clients: options.clients }
  const clients = Array.from({ length: options.clients }, async (_, index) => {
    try {
      await runClient(cluster, `${run}-${index}`, options.payloadBytes ?? 200, state, acknowledged)
    } catch (error) {
      errors.push(error)
    } finally {
      state.clients -= 1
    }
  })
  return {
    acknowledged: () => acknowledged.length,
    snapshot: () => [...acknowledged],
    advance: async (commits) => {
      const goal = acknowledged.length + commits
      await waitUntil(`${commits} more commits of the ledger`, () => {
        if (acknowledged.length >= goal) return true
        if (state.clients === 0) throw new Error(`all clients of the ledger ended: ${errors.map(reasonOf).join('; ')}`)
        return false
      })
    },
    stop: async () => {
      state.stopping = true
      await Promise.all(clients)
      return acknowledged
    },
  }
}

async function runClient(
  cluster: Cluster,
  name: string,
  payloadBytes: number,
  state: { stopping: boolean },
  acknowledged: Acknowledged[],
): Promise<void> {
  const client = await openClient(cluster)
  try {
    for (let sequence = 1; !state.stopping; sequence++) {
      const entry = {
        amount: randomInt(1, 1000),
        debit: randomInt(1, ACCOUNTS + 1),
        credit: randomInt(1, ACCOUNTS + 1),
        payload: randomBytes(Math.ceil(payloadBytes / 2)).toString('hex'),
      }
      await client.query('begin')
      await client.query('insert into ledger_entry values ($1, $2, $3, $4, $5, $6, $7)', [
        name,
        sequence,
        entry.amount,
        entry.debit,
        entry.credit,
        entry.payload,
        sign(name, sequence, entry),
      ])
      // Always the lower account first: two clients can wait for each other's rows only in one direction.
      const moves = [
        [entry.debit, -entry.amount],
        [entry.credit, entry.amount],
      ].sort((a, b) => Number(a[0]) - Number(b[0]))
      for (const [account, amount] of moves) {
        await client.query('update ledger_account set balance = balance + $2 where id = $1', [account, amount])
      }
      await client.query('commit')
      acknowledged.push({ client: name, sequence })
    }
  } finally {
    await client.end().catch(() => undefined)
  }
}

interface Entry {
  amount: number
  debit: number
  credit: number
  payload: string
}

function sign(client: string, sequence: number, entry: Entry): string {
  const text = [client, sequence, entry.amount, entry.debit, entry.credit, entry.payload].join('|')
  return createHash('sha256').update(text).digest('hex')
}

/** What {@link verifyLedger} found. */
export interface LedgerFindings {
  entries: number
  /** Entries beyond the acknowledged ones. */
  extra: number
}

/**
 * Proves that a cluster holds every acknowledged commit, whole, and nothing that was never written. With
 * `extra: 'in-flight'` (the default) each client may have one commit more, whose acknowledgement never arrived; with
 * `extra: 'any'` any number, for a recovery to a point later than the snapshot.
 */
export async function verifyLedger(
  cluster: Cluster,
  acknowledged: readonly Acknowledged[],
  options: { extra?: 'in-flight' | 'any' } = {},
): Promise<LedgerFindings> {
  // Sequential scans and index scans must agree, too: a stale visibility map shows only in the latter (EXP1).
  const { rows, counted, balances } = await withClient(cluster, async (client) => {
    const entries = await client.query<Entry & { client: string; sequence: string; signature: string }>(
      'select * from ledger_entry',
    )
    const accounts = await client.query<{ id: number; balance: string }>('select id, balance from ledger_account')
    await client.query('set enable_seqscan = off; set enable_bitmapscan = off')
    const count = await client.query<{ n: string }>(`select count(*)::text as n from ledger_entry where client > ''`)
    return { rows: entries.rows, counted: count.rows[0]?.n, balances: accounts.rows }
  })
  assert.equal(counted, String(rows.length), 'an index-only scan and a sequential scan of the ledger disagree')
  const last = new Map<string, number>()
  const expected = new Map<number, number>(balances.map(({ id }) => [id, 0]))
  for (const row of rows) {
    const sequence = Number(row.sequence)
    assert.equal(row.signature, sign(row.client, sequence, row), `signature of entry ${row.client}/${sequence}`)
    last.set(row.client, Math.max(last.get(row.client) ?? 0, sequence))
    expected.set(row.debit, (expected.get(row.debit) ?? 0) - row.amount)
    expected.set(row.credit, (expected.get(row.credit) ?? 0) + row.amount)
  }
  // The primary key forbids doubles, so as many entries as the highest number means no gap.
  const total = [...last.values()].reduce((sum, sequence) => sum + sequence, 0)
  assert.equal(rows.length, total, 'entries of the ledger are missing between others')
  for (const { id, balance } of balances) assert.equal(Number(balance), expected.get(id), `balance of account ${id}`)
  assert.equal(balances.length, ACCOUNTS, 'number of accounts')

  const acknowledgedLast = new Map<string, number>()
  for (const { client, sequence } of acknowledged) {
    acknowledgedLast.set(client, Math.max(acknowledgedLast.get(client) ?? 0, sequence))
  }
  for (const [client, sequence] of acknowledgedLast) {
    const present = last.get(client) ?? 0
    assert.ok(present >= sequence, `client ${client}: acknowledged up to entry ${sequence}, present up to ${present}`)
  }
  if ((options.extra ?? 'in-flight') === 'in-flight') {
    for (const [client, present] of last) {
      const sequence = acknowledgedLast.get(client) ?? 0
      assert.ok(
        present <= sequence + 1,
        `client ${client}: entry ${present} is there, only ${sequence} was acknowledged`,
      )
    }
  }
  return { entries: rows.length, extra: rows.length - acknowledged.length }
}
