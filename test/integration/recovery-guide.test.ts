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

for (const title of [
  'The server is lost',
  'A table was dropped',
  'A page is corrupted',
  'The bucket cannot be reached',
  'The wrong timeline',
]) {
  test(`the guide leads out of: ${title}`, { skip }, async () => {
    using workplace = await openWorkplace()
    await using repository = await openEndpointRepository()
    await using cluster = await startArchivingCluster(repository, { major: MAJOR, walSegmentSizeMb: 1 })
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
        await query(cluster, 'insert into orders values (0)')
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
        await query(cluster, 'insert into orders values (0)')
        await archiveWal(cluster, repository)
      },
    }
    const started = new Set<string>()
    try {
      for (const { marker, commands } of chapterOf(title)) {
        if (marker !== undefined) {
          assert.ok(scene[marker], `the marker "${marker}" says nothing to this test`)
          await scene[marker]()
          continue
        }
        if (commands?.includes('-D "$PGDATA"')) started.add(cluster.pgdata)
        if (commands?.includes('-D "$COPY"')) started.add(env['COPY']!)
        const { exitCode, stdout, stderr } = await runAsServerUser('bash', ['-e', '-o', 'pipefail', '-c', commands!], {
          env,
        })
        assert.equal(exitCode, 0, `${commands}\n${stdout}${stderr}`)
      }
      if (title === 'A table was dropped')
        assert.deepEqual(await query(cluster, 'select count(*)::int as n from orders'), [{ n: 1000 }])
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
