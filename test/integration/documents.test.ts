/** Every document of a real repository, and everything that the command line prints as JSON, against the schemas. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { it } from 'node:test'
import { pathToFileURL } from 'node:url'
import { decompress } from 'zstd-napi'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { ROOT } from '../support/oracles.js'
import { query, startCluster } from '../support/postgres.js'
import { assertValid } from '../support/schemas.js'
import { giveToServerUser, runAsServerUser, runProgram } from '../support/server-user.js'

/** Which schema each JSON document of a repository follows, by its key. */
const DOCUMENTS: readonly (readonly [RegExp, string])[] = [
  [/^pg18-\d+\/cluster\.json$/, 'cluster'],
  [/^pg18-\d+\/backups\/[^/]+\.json$/, 'backup-record'],
  [/^pg18-\d+\/running\/[^/]+\/[^/]+\.json$/, 'heartbeat'],
  [/^pg18-\d+\/proofs\/[^/]+\/[^/]+\.json$/, 'proof'],
  [/^profile\/[^/]+\.json$/, 'profile'],
]
const INDEXES: readonly (readonly [RegExp, string])[] = [
  [/^pg18-\d+\/base\/[^/]+\/files\.jsonl\.zst$/, 'files-line'],
  [/^pg18-\d+\/base\/[^/]+\/objects\.jsonl\.zst$/, 'objects-line'],
]
/** Objects that are no JSON of ours. */
const OTHERS =
  /^README\.txt$|^pg18-\d+\/wal\/|^pg18-\d+\/base\/[^/]+\/(\d{5}\.tar\.zst|backup_(label|manifest)|tablespace_map)$/

const linesOf = (text: string): unknown[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)

it('every JSON document, every line and every --json output of a real backup follows its schema', async () => {
  const home = newHome()
  try {
    const repository = path.join(home, 'repository')
    mkdirSync(repository)
    mkdirSync(path.join(home, 'fast'))
    await giveToServerUser(home)
    const url = pathToFileURL(repository).href
    const program = path.join(ROOT, 'dist', 'main.js')
    const archiveCommand = `${ROOT}dist/pgsluice-wal --node ${process.execPath} push "%p" --repository ${url}`
    await using cluster = await startCluster({
      major: 18,
      settings: { archive_mode: 'on', archive_command: archiveCommand, cluster_name: 'documents' },
    })
    await query(cluster, `create tablespace fast location '${home}/fast'`)
    await query(cluster, 'create table elsewhere tablespace fast as select generate_series(1, 1000) as i')
    // Something that is no part of a backup, and a name that is no UTF-8.
    assert.equal((await runProgram('mkfifo', [path.join(cluster.pgdata, 'fifo')])).exitCode, 0)
    const pgdata = Buffer.from(`${cluster.pgdata}/`)
    mkdirSync(Buffer.concat([pgdata, Buffer.from([0x6e, 0xff])]))
    await giveToServerUser(cluster.pgdata)

    const env = { ...cluster.env, PGSLUICE_REPOSITORY: url, PGSLUICE_CONFIG: '/dev/null' }
    const run = async (...args: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await runAsServerUser(process.execPath, [program, ...args], { env })
      assert.equal(exitCode, 0, `${args.join(' ')}: ${stdout}${stderr}`)
      return stdout
    }
    const checkStream = (text: string, result: string): void => {
      const lines = linesOf(text)
      assertValid(result, lines.at(-1))
      assert.ok(lines.length > 5, 'events come before the result')
      for (const event of lines.slice(0, -1)) assertValid('event-line', event)
    }

    assertValid('check-result', JSON.parse(await run('check', '--json')))
    checkStream(await run('backup', '--json', '--label', 'documents'), 'backup-result')
    const list = JSON.parse(await run('list', '--json')) as { clusters: { backups: unknown[] }[] }
    assertValid('list-result', list)
    assert.equal(list.clusters[0]?.backups.length, 1)
    assertValid('show-result', JSON.parse(await run('show', 'documents', '--json')))
    const verified = await run('verify', '--level', 'wal', '--json')
    for (const event of linesOf(verified).slice(0, -1)) assertValid('event-line', event)
    assertValid('verify-result', linesOf(verified).at(-1))
    const mapping = `${home}/fast=${home}/fast-restored`
    const restore = ['restore', '--json', '--target-dir', path.join(home, 'restored'), '--tablespace-mapping', mapping]
    checkStream(await run(...restore), 'restore-result')

    const seen = new Map<string, number>()
    for (const entry of readdirSync(repository, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue
      const file = path.join(entry.parentPath, entry.name)
      const key = path.relative(repository, file)
      const [, document] = DOCUMENTS.find(([pattern]) => pattern.test(key)) ?? []
      const [, index] = INDEXES.find(([pattern]) => pattern.test(key)) ?? []
      const schema = document ?? index ?? ''
      if (document !== undefined) assertValid(document, JSON.parse(readFileSync(file, 'utf8')))
      else if (index !== undefined) {
        for (const line of linesOf(decompress(readFileSync(file)).toString())) assertValid(index, line)
      } else assert.match(key, OTHERS, 'an object that no schema and no rule here knows')
      seen.set(schema, (seen.get(schema) ?? 0) + 1)
    }
    for (const [, schema] of [...DOCUMENTS, ...INDEXES]) assert.ok(seen.get(schema), `no ${schema} was seen`)
  } finally {
    removeHome(home)
  }
})
