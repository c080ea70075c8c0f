/**
 * Tablespaces: moved at the restore, or back to where they were, and never the original ones touched (T3): a test restore
 * on the host of the production server must not run on its tablespaces.
 */
import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { findOracles } from '../support/oracles.js'
import {
  archiveWal,
  loseDirectory,
  openEndpointRepository,
  openWorkplace,
  pgsluice,
  startArchivingCluster,
  startRestored,
  succeed,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, withClient, type Cluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

/** `OLD=NEW` as pg_basebackup and we take it: a `=` in a path is written `\=`. */
const mapping = (from: string, to: string): string[] => [
  '--tablespace-mapping',
  `${from.replaceAll('=', '\\=')}=${to.replaceAll('=', '\\=')}`,
]

/** Every file below a directory with its bytes and times. */
function stateOf(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const file = path.join(directory, name)
      const status = statSync(file)
      return `${name} ${status.mtimeMs} ${status.ino} ${status.isFile() ? readFileSync(file).toString('latin1') : ''}`
    })
}

const ROWS = { odd: 1000, plain: 2000, nested: 3000, in_place: 4000 } as const

// The text of tablespace_map changed between 13 and 14, in-place tablespaces came with 15, their walk changed in 16.
for (const major of availableMajors().filter((each) => [13, 15, 18].includes(each))) {
  describe(`tablespaces of PostgreSQL ${major}`, () => {
    let repository: Awaited<ReturnType<typeof openEndpointRepository>>
    let workplace: Awaited<ReturnType<typeof openWorkplace>>
    let cluster: Cluster
    let locations: { odd: string; plain: string; nested: string }
    const hasInPlace = major >= 15

    before(async () => {
      repository = await openEndpointRepository()
      workplace = await openWorkplace()
      cluster = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1 })
      locations = {
        odd: workplace.at('odd =name\\with  all'),
        plain: workplace.at('plain'),
        nested: path.join(cluster.pgdata, 'nested'),
      }
      for (const [name, location] of Object.entries(locations)) {
        mkdirSync(location, { mode: 0o700 })
        // Another version may live beside ours (T1): not our data.
        if (name === 'plain') mkdirSync(path.join(location, 'PG_9.6_201608131'))
        await giveToServerUser(location)
        await query(cluster, `create tablespace ${name} location '${location}'`)
      }
      if (hasInPlace) {
        await withClient(cluster, async (client) => {
          await client.query('set allow_in_place_tablespaces = on')
          await client.query(`create tablespace in_place location ''`)
        })
      }
      for (const [name, rows] of Object.entries(ROWS)) {
        if (name === 'in_place' && !hasInPlace) continue
        await query(cluster, `create table in_${name} tablespace ${name} as select generate_series(1, ${rows}) as i`)
        await query(cluster, `create index on in_${name} (i) tablespace ${name}`)
      }
      await succeed(['backup'], repository, { cluster })
      await query(cluster, `insert into in_odd values (0)`)
      await archiveWal(cluster, repository)
      await cluster.stop()
    })

    after(async () => {
      await cluster.destroy()
      workplace[Symbol.dispose]()
      await repository[Symbol.asyncDispose]()
    })

    async function assertRows(restored: Cluster): Promise<void> {
      for (const [name, rows] of Object.entries(ROWS)) {
        if (name === 'in_place' && !hasInPlace) continue
        const [row] = await query<{ n: number }>(restored, `select count(*)::int as n from in_${name}`)
        assert.equal(row!.n, name === 'odd' ? rows + 1 : rows, name)
      }
    }

    /** Where the links of a data directory point to, by the name of the tablespace. */
    async function linksOf(restored: Cluster): Promise<Record<string, string>> {
      const rows = await query<{ oid: number; name: string; location: string }>(
        restored,
        `select oid, spcname as name, pg_tablespace_location(oid) as location from pg_tablespace where oid > 16000`,
      )
      for (const { oid, location } of rows) {
        const entry = path.join(restored.pgdata, 'pg_tblspc', String(oid))
        if (lstatSync(entry).isSymbolicLink()) assert.equal(readlinkSync(entry), location)
        else assert.equal(location, `pg_tblspc/${oid}`)
      }
      return Object.fromEntries(rows.map(({ name, location }) => [name, location]))
    }

    it('come back at new places, and the originals on the same host are never touched (T3)', async () => {
      const moved = {
        odd: workplace.at('new = odd\\'),
        plain: workplace.at('new/plain'),
        nested: workplace.at('new-nested'),
      }
      // PostgreSQL 13 cannot read back a backslash at the end of a location.
      if (major === 13) moved.odd = workplace.at('new = \\odd')
      const names = ['odd', 'plain', 'nested'] as const
      const originals = names.map((name) => stateOf(locations[name]))
      const target = workplace.at('moved')
      const mappings = names.flatMap((name) => mapping(locations[name], moved[name]))
      await succeed(['restore', '--target-dir', target, ...mappings], repository)
      const verify = await findOracles(major)?.run('pg_verifybackup', ['-n', '-i', 'tablespace_map', target], {
        asServerUser: true,
      })
      if (verify !== undefined) assert.equal(verify.exitCode, 0, `${verify.stdout}${verify.stderr}`)
      {
        await using restored = await startRestored(major, target, repository)
        await assertRows(restored)
        const { in_place: inPlace, ...links } = await linksOf(restored)
        assert.deepEqual(links, moved)
        assert.equal(inPlace !== undefined, hasInPlace)
        // It is written to where it was moved, and nowhere else.
        for (const name of names) await query(restored, `insert into in_${name} select generate_series(1, 10000)`)
        await query(restored, 'checkpoint')
        await restored.stop()
      }
      assert.deepEqual(
        names.map((name) => stateOf(locations[name])),
        originals,
      )
      assert.ok(
        !existsSync(path.join(moved.plain, 'PG_9.6_201608131')),
        'only what is of this cluster is restored (T1)',
      )
    })

    const refusals: readonly (readonly [string, () => string[], number, RegExp])[] = [
      ['without a mapping while the original is there', () => [], 4, /holds files of a cluster of this version/],
      [
        'two tablespaces at one place',
        () => [...all({ plain: workplace.at('same'), odd: workplace.at('same') })],
        2,
        /same" is ".*same" or lies inside it/,
      ],
      [
        'one tablespace inside another',
        () => [...all({ plain: workplace.at('outer'), odd: workplace.at('outer/inner') })],
        2,
        /inner" is ".*outer" or lies inside it/,
      ],
      ['a tablespace in the data directory', () => all({ plain: workplace.at('refused/x') }), 2, /or lies inside it/],
      ['a tablespace at the data directory', () => all({ plain: workplace.at('refused') }), 2, /or lies inside it/],
      [
        'a location that no tablespace had',
        () => [...all({}), ...mapping('/no/such', workplace.at('x'))],
        2,
        /no tablespace of this backup is at "\/no\/such"/,
      ],
      ['a location that is not absolute', () => ['--tablespace-mapping', '/a=b'], 2, /must be absolute/],
      ['a mapping without a new place', () => ['--tablespace-mapping', '/a'], 2, /expected OLD=NEW/],
      ['a mapping whose only "=" is escaped', () => ['--tablespace-mapping', '/a\\=/b'], 2, /expected OLD=NEW/],
      ['a mapping with two "="', () => ['--tablespace-mapping', '/a=/b=/c'], 2, /expected OLD=NEW/],
    ]
    /** Mappings of all three, to places of their own where nothing else is said. */
    const all = (changed: Partial<typeof locations>): string[] =>
      (['odd', 'plain', 'nested'] as const).flatMap((name) =>
        mapping(locations[name], changed[name] ?? workplace.at(`free-${name}`)),
      )

    // What is refused does not depend on the major.
    for (const [what, args, code, message] of major === availableMajors().at(-1) ? refusals : []) {
      it(`refuse ${what}, before anything is written (T10, R1)`, async () => {
        const before = readdirSync(workplace.directory).sort()
        const result = await pgsluice(['restore', '--target-dir', workplace.at('refused'), ...args()], repository)
        assert.equal(result.exitCode, code, result.stderr)
        assert.match(result.stderr, message)
        assert.deepEqual(readdirSync(workplace.directory).sort(), before)
      })
    }

    it('refuse a location in which a cluster of this version lives, and leave it alone (R1)', async () => {
      const taken = workplace.at('taken')
      const [version] = readdirSync(locations.odd)
      mkdirSync(path.join(taken, version!), { recursive: true })
      writeFileSync(path.join(taken, version!, 'somebody'), 'else')
      const args = ['restore', '--target-dir', workplace.at('refused'), ...all({ plain: taken })]
      const { exitCode, stderr } = await pgsluice(args, repository)
      assert.equal(exitCode, 4)
      assert.match(stderr, /taken" holds files of a cluster of this version/)
      assert.equal(readFileSync(path.join(taken, version!, 'somebody'), 'utf8'), 'else')
      assert.ok(!existsSync(workplace.at('refused')))
    })

    it('come back to their places when the whole host was lost', async () => {
      loseDirectory(cluster)
      rmSync(locations.odd, { recursive: true })
      // What is left of the other: the mount point, and another version's files.
      rmSync(
        path.join(
          locations.plain,
          readdirSync(locations.plain).find((name) => name !== 'PG_9.6_201608131')!,
        ),
        {
          recursive: true,
        },
      )
      const target = workplace.at('restored')
      const elsewhere = mapping(locations.nested, workplace.at('no-longer-nested'))
      await succeed(['restore', '--target-dir', target, ...elsewhere], repository)
      await using restored = await startRestored(major, target, repository)
      await assertRows(restored)
      const links = await linksOf(restored)
      assert.deepEqual([links['odd'], links['plain']], [locations.odd, locations.plain])
      assert.ok(existsSync(path.join(locations.plain, 'PG_9.6_201608131')))
    })
  })
}
