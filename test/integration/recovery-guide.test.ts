/** docs/recovery.md, its commands executed as they stand. What goes wrong between them is done here, where its markers say so. */
import assert from 'node:assert/strict'
import { chmodSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { FRONT } from '../support/command-line.js'
import { findOracles, ROOT } from '../support/oracles.js'
import {
  archiveWal,
  openEndpointRepository,
  openWorkplace,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors, postgresBinaries } from '../support/postgres-binaries.js'
import { query, type Cluster } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'

const MAJOR = availableMajors().at(-1)!
const oracles = findOracles(MAJOR)

/** A chapter: its markers and its commands, in their order. */
function chapterOf(title: string): { marker?: string; commands?: string }[] {
  const guide = readFileSync(path.join(ROOT, 'docs/recovery.md'), 'utf8')
  const chapter = guide.split(/^## /m).find((text) => text.startsWith(title))
  assert.ok(chapter !== undefined, title)
  return [...chapter.matchAll(/<!-- test: (.*) -->|```sh\n([^]*?)```/g)].map(([, marker, commands]) =>
    marker === undefined ? { commands: commands! } : { marker },
  )
}

const skip = oracles ? false : 'this machine cannot run psql'

type Run = (commands: string) => Promise<string>
const rowsOf = (host = ''): string => `psql ${host} -Atc 'select count(*), count(distinct what) from orders'`
const COPY = '-h "$COPY_HOST"'

/** What each chapter has led to, by what it has printed and by asking the server that it leaves. */
const outcomes = {
  'The server is lost': async (printed: string, run: Run) => {
    assert.match(printed, /after-loss/)
    assert.equal(await run(rowsOf()), '1000|1000\n')
    assert.equal(await run(`psql -Atc 'show archive_mode'`), 'on\n')
  },
  'A table was dropped': async (printed: string, run: Run) => {
    assert.match(printed, /^1000$/m)
    assert.equal(await run(rowsOf()), '1000|1000\n')
    assert.match(printed, /^target +restore point "before the upgrade"/m)
  },
  'A page is corrupted': (printed: string) => {
    assert.match(printed, /^1000$/m)
    assert.match(printed, /^page errors +1$/m)
    return Promise.resolve()
  },
  'The bucket cannot be reached': async (printed: string, run: Run) => {
    assert.match(printed, /HTTP 403, AccessDenied[^]*^ok: the archive is /m)
    assert.equal(await run(rowsOf()), '1001|1001\n')
  },
  'The wrong timeline': async (printed: string, run: Run) => {
    assert.match(printed, /timelines 1 and 2 each have WAL after their fork/)
    assert.match(printed, /^timeline +1 from /m)
    // production's row, which the copy never had
    await run(`pg_ctl -D "$COPY" -o "$COPY_OPTIONS" -l "$COPY.log" -w start
      until [ "$(psql ${COPY} -Atc 'select pg_is_in_recovery()')" = f ]; do sleep 1; done`)
    assert.equal(await run(rowsOf(COPY)), '1001|1001\n')
  },
}

for (const title of Object.keys(outcomes) as (keyof typeof outcomes)[]) {
  test(`the guide leads out of: ${title}`, { skip }, async () => {
    using workplace = await openWorkplace()
    await using repository = await openEndpointRepository()
    await using cluster = await startArchivingCluster(repository, {
      major: MAJOR,
      walSegmentSizeMb: 1,
      // what it changed in a page that is damaged on disk would be written over the damage
      settings: { autovacuum: 'off' },
    })
    const programs = workplace.at('programs')
    mkdirSync(programs)
    const install = (name: string, command: string): void => {
      writeFileSync(path.join(programs, name), `#!/bin/sh\n${command} "$@"\n`)
      chmodSync(path.join(programs, name), 0o755)
    }
    install('pgsluice', `exec '${process.execPath}' '${path.join(ROOT, 'dist/main.js')}'`)
    install('node', `exec '${process.execPath}'`)
    install('pg_ctl', `exec '${path.join(path.dirname(postgresBinaries(MAJOR).postgres), 'pg_ctl')}'`)
    const libraries = path.join(oracles!.program('psql'), '../../lib')
    install('psql', `LD_LIBRARY_PATH='${libraries}' exec '${oracles!.program('psql')}'`)
    const sockets = workplace.at('sockets')
    mkdirSync(sockets)
    const copySockets = workplace.at('copy')
    mkdirSync(copySockets)
    const serverOptions = (directory: string): string =>
      `-c port=5432 -c listen_addresses='' -c fsync=off -c unix_socket_directories=${directory}`
    for (const each of [programs, sockets, copySockets]) await giveToServerUser(each)
    const env: NodeJS.ProcessEnv = {
      ...repository.env,
      ...cluster.env,
      PGSLUICE_REQUEST_TIMEOUT: '2s',
      PATH: `${programs}:${process.env['PATH'] ?? ''}`,
      PGDATA: cluster.pgdata,
      COPY: workplace.at('copied'),
      COPY_HOST: copySockets,
      COPY_OPTIONS: serverOptions(copySockets),
      SERVER_OPTIONS: serverOptions(cluster.socketDirectory),
    }

    await query(cluster, `create table orders as select i as id, md5(i::text) as what from generate_series(1, 1000) i`)
    await succeed(['backup', '--label', 'first'], repository, { cluster })
    await archiveWal(cluster, repository)
    const scene: Record<string, () => Promise<void>> = {
      'the server is lost': async () => {
        await cluster.stop('immediate')
        rmSync(cluster.pgdata, { recursive: true })
      },
      'a table is dropped': async () => {
        const [row] = await query<{ at: string }>(
          cluster,
          `select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' as at`,
        )
        env['DROPPED_AT'] = row!.at
        await query(cluster, 'drop table orders')
        await archiveWal(cluster, repository)
      },
      'a page is corrupted': () => corrupt(cluster),
      'the bucket cannot be reached': async () => {
        repository.endpoint.fault({ match: () => true, action: { status: 403, code: 'AccessDenied' } })
        await query(cluster, `insert into orders values (0, 'last')`)
        await query(cluster, 'select pg_switch_wal()')
      },
      'the bucket can be reached again': () => {
        repository.endpoint.clearFaults()
        return Promise.resolve()
      },
      'a copy archives into its source': async () => {
        const directory = workplace.at('other')
        await succeed(['restore', '--target-dir', directory], repository)
        const settings = {
          archive_mode: 'on',
          archive_command: `'${FRONT}' --node '${process.execPath}' push "%p" --repository ${repository.url}`,
        }
        await using other = await startRestored(MAJOR, directory, repository, { settings })
        await archiveWal(other, repository)
        await query(cluster, `insert into orders values (0, 'last')`)
        await archiveWal(cluster, repository)
      },
    }
    const run = async (commands: string): Promise<string> => {
      const { exitCode, stdout, stderr } = await runAsServerUser('bash', ['-e', '-o', 'pipefail', '-c', commands], {
        env,
      })
      assert.equal(exitCode, 0, `${commands}\n${stdout}${stderr}`)
      return stdout + stderr
    }
    let printed = ''
    const started = new Set<string>()
    if (title === 'The wrong timeline') started.add(env['COPY']!)
    try {
      for (const { marker, commands } of chapterOf(title)) {
        if (marker !== undefined) {
          assert.ok(scene[marker], `the marker "${marker}" says nothing to this test`)
          await scene[marker]()
          continue
        }
        if (commands?.includes('-D "$PGDATA"')) started.add(cluster.pgdata)
        if (commands?.includes('-D "$COPY"')) started.add(env['COPY']!)
        printed += await run(commands!)
      }
      await outcomes[title](printed, run)
    } finally {
      for (const directory of started)
        await runAsServerUser('bash', ['-c', `pg_ctl -D '${directory}' -m immediate -w stop`], { env })
    }
  })
}

/** Flips a byte in the middle of the table's file, behind the server's back. */
async function corrupt(cluster: Cluster): Promise<void> {
  await query(cluster, 'checkpoint')
  const [row] = await query<{ path: string }>(cluster, `select pg_relation_filepath('orders') as path`)
  const file = openSync(path.join(cluster.pgdata, row!.path), 'r+')
  writeSync(file, Buffer.from('corrupted'), 0, 9, 5000)
  closeSync(file)
}
