/**
 * A server in recovery never promotes because of us (G1, G1b): whatever breaks between it and its archive, it stops where it
 * is, and once that is repaired it recovers everything. PostgreSQL takes a restore_command's exit codes 1 to 125 for the end
 * of WAL, and Node.js has such codes for failures of its own, so the test is the server's own behaviour.
 */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { readControlFile } from '#src/postgres/control-file.js'
import { FRONT } from '../support/command-line.js'
import { startLedger, verifyLedger, type Acknowledged } from '../support/ledger.js'
import { ROOT } from '../support/oracles.js'
import {
  archiveWal,
  BUCKET,
  openEndpointRepository,
  openWorkplace,
  startArchivingCluster,
  startRestored,
  succeed,
  type EndpointRepository,
} from '../support/pgsluice.js'
import { availableMajors } from '../support/postgres-binaries.js'
import { query, startCluster } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

const MAJORS = availableMajors()

/** What a scenario can break. */
interface Stage {
  repository: EndpointRepository
  /** The data directory. */
  target: string
  /** A copy of the installed package, which the restore_command names. */
  installed: string
  /** Keys of the segments that recovery needs, in order. */
  segments: string[]
}

interface Scenario {
  name: string
  /** Breaks something at the moment when recovery asks for its second segment; what is then in flight still succeeds. */
  sabotage?: (stage: Stage) => void
  /** Breaks something before the server starts. */
  before?: (stage: Stage) => void
  /** For the server's first start only. Faults, objects and the package are always put right before the second. */
  env?: NodeJS.ProcessEnv
  /** Whether it damages the installed package: then it has one of its own. */
  ofPackage?: boolean
  /**
   * Whether the server is promoted after the repair, at the price of five more starts of Node.js; otherwise it replays to the
   * last transaction, and waits there.
   */
  promotes?: boolean
  /** What the log says of it. */
  says: RegExp
}

const failEverything = (
  { repository }: Stage,
  action: Parameters<typeof repository.endpoint.fault>[0]['action'],
): void => {
  repository.endpoint.fault({ match: ({ bucket, key }) => bucket === BUCKET && key.includes('/wal/'), action })
}
const inPackage = ({ installed }: Stage, name: string): string => path.join(installed, name)
/** What the log has to say of a WAL object: the message, and the hint where there is one. */
const saysOfWal = (reason: string, hint?: string): RegExp =>
  new RegExp(
    `could not read ".*/wal/.*" in bucket "${BUCKET}": ${reason}${hint === undefined ? '' : `[^]*HINT: +${hint}`}`,
  )
const damageThird = ({ repository, segments }: Stage, change: (bytes: Buffer) => Buffer): void => {
  void repository.get(segments[2]!).then((bytes) => repository.set(segments[2]!, change(bytes)))
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'a module of ours is gone',
    promotes: true,
    sabotage: (stage) => rmSync(inPackage(stage, 'dist/repository/wal-fetch.js')),
    ofPackage: true,
    says: /Cannot find module .*wal-fetch\.js/,
  },
  {
    name: 'the entry of the program is gone',
    sabotage: (stage) => rmSync(inPackage(stage, 'dist/main.js')),
    ofPackage: true,
    says: /Cannot find module .*main\.js/,
  },
  {
    name: 'a module of ours is cut off',
    sabotage: (stage) => writeFileSync(inPackage(stage, 'dist/cli/run.js'), 'import { '),
    ofPackage: true,
    says: /SyntaxError/,
  },
  {
    name: 'all dependencies are gone',
    sabotage: (stage) => rmSync(inPackage(stage, 'node_modules')),
    ofPackage: true,
    says: /Cannot find (package|module)/,
  },
  {
    name: 'the shell front is gone',
    sabotage: (stage) => rmSync(inPackage(stage, 'dist/pgsluice-wal')),
    ofPackage: true,
    says: /not found|No such file/,
  },
  {
    name: 'Node.js is gone',
    sabotage: (stage) => rmSync(inPackage(stage, 'node')),
    ofPackage: true,
    says: /could not run Node\.js/,
  },
  { name: 'NODE_OPTIONS is wrong', env: { NODE_OPTIONS: '--bad-option' }, says: /bad option|not allowed/ },
  {
    name: 'nothing listens at the endpoint',
    env: { AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1' },
    says: /could not read ".*cluster\.json".*ECONNREFUSED[^]*HINT: .*Nothing listens at the endpoint/,
  },
  {
    name: 'the credentials are gone',
    env: { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, HOME: '/nonexistent' },
    says: /could not read ".*": no credentials were found/,
  },
  {
    name: 'the endpoint breaks all connections',
    sabotage: (stage) => failEverything(stage, 'reset'),
    says: saysOfWal('.*(ECONNRESET|socket hang up)'),
  },
  {
    name: 'the store says 403',
    sabotage: (stage) => failEverything(stage, { status: 403, code: 'AccessDenied' }),
    says: saysOfWal('.*HTTP 403, AccessDenied', 'Check that the policy'),
  },
  {
    name: 'the store says 500',
    sabotage: (stage) => failEverything(stage, { status: 500, code: 'InternalError' }),
    says: saysOfWal('.*HTTP 500, InternalError'),
  },
  {
    name: 'the store says 404 for its bucket',
    sabotage: (stage) => failEverything(stage, { status: 404, code: 'NoSuchBucket' }),
    says: saysOfWal('.*HTTP 404, NoSuchBucket', 'Create the bucket'),
  },
  {
    name: 'the next segment has a zeroed body (G3)',
    sabotage: (stage) => damageThird(stage, (bytes) => Buffer.from(bytes).fill(0, bytes.length >> 1)),
    says: /damaged|could not decompress/,
  },
  {
    name: 'the next segment is cut off (G3)',
    sabotage: (stage) => damageThird(stage, (bytes) => bytes.subarray(0, bytes.length >> 1)),
    says: /damaged|could not decompress/,
  },
  {
    name: 'the next segment has a flipped bit (G3)',
    sabotage: (stage) =>
      damageThird(stage, (bytes) => {
        const copy = Buffer.from(bytes)
        copy.writeUInt8(copy.readUInt8(bytes.length >> 1) ^ 0x10, bytes.length >> 1)
        return copy
      }),
    says: /damaged|could not decompress/,
  },
  {
    name: 'the next segment is another one (G3)',
    sabotage: ({ repository, segments }) =>
      void repository.get(segments[3]!).then((bytes) => repository.set(segments[2]!, bytes)),
    says: /is damaged: it holds "[0-9A-F]{24}"/,
  },
  {
    name: 'the token has expired',
    sabotage: (stage) => failEverything(stage, { status: 400, code: 'ExpiredToken' }),
    says: saysOfWal('.*HTTP 400, ExpiredToken', 'The session token has expired: renew'),
  },
  {
    name: 'the region is wrong',
    sabotage: (stage) => failEverything(stage, { status: 400, code: 'AuthorizationHeaderMalformed' }),
    says: saysOfWal('.*HTTP 400, AuthorizationHeaderMalformed', 'The bucket is probably in another region'),
  },
  {
    name: 'the store takes requests and says nothing',
    sabotage: (stage) => failEverything(stage, 'stall'),
    env: { PGSLUICE_REQUEST_TIMEOUT: '4s' },
    says: saysOfWal('no answer within the request timeout'),
  },
  {
    name: 'nothing can be written where the server wants it',
    sabotage: ({ target }) => chmodSync(path.join(target, 'pg_wal'), 0o500),
    says: /could not write ".*RECOVERYXLOG": EACCES/,
  },
  {
    // what a limit allows to be written stands in for what a disk still holds: both fail in the middle of a segment
    name: 'the disk is full in the middle of a segment',
    before: (stage) => {
      const script = `#!/bin/sh\nulimit -f 1000\nexec '${process.execPath}' "$@"\n`
      writeFileSync(inPackage(stage, 'limited'), script, { mode: 0o755 })
      renameSync(inPackage(stage, 'limited'), inPackage(stage, 'node'))
    },
    ofPackage: true,
    says: /could not write ".*RECOVERYXLOG": EFBIG/,
  },
  {
    name: 'the next segment is missing and later ones are there (G2)',
    promotes: true,
    sabotage: ({ repository, segments }) => repository.delete(segments[2]!),
    says: /is missing from the archive, and "[0-9A-F]{24}" is there/,
  },
  {
    name: 'only history files cannot be read (G6)',
    promotes: true,
    sabotage: ({ repository }) => {
      const action = { status: 503, code: 'SlowDown' }
      repository.endpoint.fault({ match: ({ key }) => key.endsWith('.history.zst'), action })
    },
    says: /00000002\.history/,
  },
]

describe('a server in recovery', { concurrency: 2 }, () => {
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  /** By major: the lost cluster, as it is restored, what is in its repository, and an LSN behind the last transaction. */
  const lost = new Map<
    number,
    { acknowledged: Acknowledged[]; objects: Map<string, Buffer>; restored: string; end: string }
  >()
  /** A package that nobody damages. */
  let shared: string

  before(async () => {
    workplace = await openWorkplace()
    shared = await install('package')
    for (const major of new Set([MAJORS[0]!, MAJORS.at(-1)!])) {
      await using repository = await openEndpointRepository()
      await using cluster = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1 })
      await succeed(['backup'], repository, { cluster })
      const acknowledged: Acknowledged[] = []
      let end = ''
      for (let n = 0; n < 3; n++) {
        // In bursts: without a pause it writes small segments faster than they are archived.
        const ledger = await startLedger(cluster, { clients: 2 })
        await ledger.advance(10)
        acknowledged.push(...(await ledger.stop()))
        end = (await query<{ lsn: string }>(cluster, 'select pg_current_wal_insert_lsn()::text as lsn'))[0]!.lsn
        await archiveWal(cluster, repository)
      }
      const restored = workplace.at(`restored-${major}`)
      await succeed(['restore', '--target-dir', restored], repository)
      const objects = new Map<string, Buffer>()
      for (const key of await repository.keys()) objects.set(key, await repository.get(key))
      lost.set(major, { acknowledged, objects, restored, end })
    }
  })
  after(() => workplace[Symbol.dispose]())

  /** A package like the installed one, which a test may damage; a link stands for Node.js. */
  async function install(name: string): Promise<string> {
    const installed = workplace.at(name)
    mkdirSync(installed, { recursive: true })
    cpSync(path.join(ROOT, 'dist'), path.join(installed, 'dist'), { recursive: true })
    cpSync(path.join(ROOT, 'package.json'), path.join(installed, 'package.json'))
    for (const [link, target] of [
      ['node_modules', path.join(ROOT, 'node_modules')],
      ['node', process.execPath],
    ] as const) {
      rmSync(path.join(installed, link), { force: true })
      symlinkSync(target, path.join(installed, link))
    }
    await giveToServerUser(installed)
    return installed
  }

  async function play(major: number, scenario: Scenario): Promise<void> {
    const { acknowledged, objects, restored, end } = lost.get(major)!
    const name = `${major}-${SCENARIOS.indexOf(scenario)}`
    const target = workplace.at(`data-${name}`)
    assert.equal((await runAsServerUser('cp', ['-Rp', restored, target])).exitCode, 0)
    const installed = scenario.ofPackage === true ? await install(`package-${name}`) : shared
    const autoConf = path.join(target, 'postgresql.auto.conf')
    const command = readFileSync(autoConf, 'utf8')
    assert.ok(command.includes(FRONT) && command.includes(process.execPath))
    const changed = command.replace(FRONT, path.join(installed, 'dist/pgsluice-wal'))
    writeFileSync(autoConf, changed.replace(process.execPath, path.join(installed, 'node')))

    await using repository = await openEndpointRepository()
    for (const [key, bytes] of objects) await repository.set(key, bytes)
    const needed = segmentsFrom(restored, objects)
    assert.ok(needed.length >= 4)
    const stage: Stage = { repository, target, installed, segments: needed }
    scenario.before?.(stage)
    let broken = scenario.sabotage === undefined
    repository.endpoint.fault({
      match: ({ key }) => {
        if (!broken && key.endsWith(needed[1]!)) {
          broken = true
          scenario.sabotage?.(stage)
        }
        return false
      },
      action: 'stall',
    })
    const env = { ...repository.env, PGSLUICE_MAX_ATTEMPTS: '2' }
    {
      await using cluster = await startCluster({
        major,
        directory: target,
        env: { ...env, ...scenario.env },
        start: false,
      })
      await cluster.start({ wait: 'none' })
      await waitUntil('the server to stop', () => {
        assert.doesNotMatch(cluster.logText(), /archive recovery complete|selected new timeline/, 'it promoted')
        return cluster.pid === undefined
      })
      assert.match(cluster.logText(), scenario.says)
      assert.match(cluster.logText(), /FATAL: +could not restore file|FATAL.*restore_command/)
      assert.ok(broken)
    }
    chmodSync(path.join(target, 'pg_wal'), 0o700)
    await assertInRecovery(target)
    repository.endpoint.clearFaults()
    for (const [key, bytes] of objects) await repository.set(key, bytes)
    if (installed !== shared) await install(`package-${name}`)
    if (scenario.promotes === true || major !== MAJORS.at(-1)) {
      await using again = await startRestored(major, target, repository, { env })
      await verifyLedger(again, acknowledged)
    } else {
      // In the file, behind the targets that restore has emptied there: the last line counts.
      appendFileSync(autoConf, `recovery_target_lsn = '${end}'\nrecovery_target_action = 'pause'\nhot_standby = 'on'\n`)
      await using again = await startCluster({ major, directory: target, env, start: false })
      await again.start({ wait: 'running' })
      await again.waitForLog(/pausing at the end of recovery/)
      await verifyLedger(again, acknowledged)
    }
    if (installed !== shared) rmSync(installed, { recursive: true })
  }

  for (const scenario of SCENARIOS) {
    it(`stops without promoting when ${scenario.name}, and later recovers everything (G1)`, async () => {
      await play(MAJORS.at(-1)!, scenario)
    })
  }
  for (const scenario of [SCENARIOS[0]!, SCENARIOS[6]!, SCENARIOS[10]!]) {
    it(`of PostgreSQL ${MAJORS[0]!} stops without promoting when ${scenario.name}, too (G1)`, async () => {
      await play(MAJORS[0]!, scenario)
    })
  }
})

describe('a standby whose archive is out of reach', () => {
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  let repository: EndpointRepository
  let restored: string
  /** Key of a segment behind the backup, with others before and behind it. */
  let later: string

  before(async () => {
    workplace = await openWorkplace()
    repository = await openEndpointRepository()
    await using cluster = await startArchivingCluster(repository, { major: MAJORS.at(-1)!, walSegmentSizeMb: 1 })
    await query(cluster, 'create table kept as select 1 as i')
    await succeed(['backup'], repository, { cluster })
    const names: string[] = []
    for (let n = 0; n < 4; n++) names.push(await archiveWal(cluster, repository))
    later = (await repository.keys()).find((key) => key.endsWith(`/${names[2]}.zst`))!
    restored = workplace.at('restored')
    await succeed(['restore', '--standby', '--target-dir', restored], repository)
  })
  after(async () => {
    await repository[Symbol.asyncDispose]()
    workplace[Symbol.dispose]()
  })

  type Action = Parameters<typeof repository.endpoint.fault>[0]['action']
  const breakBucket = (action: Action): void => {
    repository.endpoint.fault({ match: ({ bucket }) => bucket === BUCKET, action })
  }
  const outages: { name: string; early?: () => void; late?: (node: string) => void; says: RegExp }[] = [
    {
      name: 'the endpoint breaks all connections',
      late: () => breakBucket('reset'),
      says: /could not read .*(ECONNRESET|socket hang up)/,
    },
    {
      name: 'the store says 403',
      late: () => breakBucket({ status: 403, code: 'AccessDenied' }),
      says: /could not read ".*": .*HTTP 403, AccessDenied/,
    },
    { name: 'the store says nothing', late: () => breakBucket('stall'), says: /the store did not answer within/ },
    {
      name: 'the store falls silent in the middle of a segment that is fetched ahead',
      early: () =>
        repository.endpoint.fault({ match: ({ key }) => key.endsWith(later), action: { stallBodyAfter: 100 } }),
      says: /"[0-9A-F]{24}" is being fetched, and the store has not sent all of it yet/,
    },
    { name: 'Node.js is gone', late: (node) => rmSync(node), says: /could not run Node\.js/ },
  ]
  for (const { name, early, late, says } of outages) {
    it(`lives on when ${name}, and can be promoted meanwhile (G1)`, async () => {
      const directory = workplace.at(`standby-${outages.findIndex((outage) => outage.name === name)}`)
      assert.equal((await runAsServerUser('cp', ['-Rp', restored, directory])).exitCode, 0)
      const node = `${directory}.node`
      symlinkSync(process.execPath, node)
      const autoConf = path.join(directory, 'postgresql.auto.conf')
      writeFileSync(autoConf, readFileSync(autoConf, 'utf8').replace(process.execPath, node))
      repository.endpoint.clearFaults()
      early?.()
      const env = { ...repository.env, PGSLUICE_RETRY_TIME: '5min' }
      await using standby = await startCluster({ major: MAJORS.at(-1)!, directory, env, start: false })
      await standby.start({ wait: 'ready' })
      late?.(node)
      const before = early ? 0 : standby.logText().length
      await standby.waitForLog(says, before)
      await standby.waitForLog(says, standby.logText().length)
      assert.ok(standby.pid !== undefined)
      assert.deepEqual(await query(standby, 'select pg_is_in_recovery() as standby, i from kept'), [
        { standby: true, i: 1 },
      ])
      assert.deepEqual(
        await query(standby, 'select pg_promote(true, 120) as promoted'),
        [{ promoted: true }],
        standby.logText(),
      )
      await query(standby, 'insert into kept values (2)')
    })
  }
})

describe('a server in recovery across a switch of timelines', () => {
  it('stops where the last full segment of the old timeline is missing, and later reaches the new one (G2)', async () => {
    const major = MAJORS.at(-1)!
    using workplace = await openWorkplace()
    await using repository = await openEndpointRepository()
    {
      await using first = await startArchivingCluster(repository, { major, walSegmentSizeMb: 1 })
      await succeed(['backup'], repository, { cluster: first })
      await archiveWal(first, repository)
      await query(first, 'create table on_first as select 1 as i')
      await archiveWal(first, repository)
    }
    const promoted = workplace.at('promoted')
    await succeed(['restore', '--target-dir', promoted], repository)
    {
      await using second = await startRestored(major, promoted, repository, {
        settings: {
          archive_mode: 'on',
          archive_command: `'${FRONT}' --node '${process.execPath}' push "%p" --repository ${repository.url}`,
        },
      })
      await query(second, 'create table on_second as select 1 as i')
      await archiveWal(second, repository)
    }
    const restored = workplace.at('restored')
    await succeed(['restore', '--target-dir', restored], repository)
    const full = (await repository.keys()).filter((key) => /\/00000001[0-9A-F]{16}\.zst$/.test(key)).sort()
    const history = (await repository.keys()).find((key) => key.endsWith('/00000002.history.zst'))
    assert.ok(history !== undefined)
    // The segment with the switch is archived from both timelines, or as .partial: the one before it is the last that counts.
    const begun = (await repository.keys()).filter((key) => /\/00000002[0-9A-F]{16}\.zst$/.test(key)).sort()[0]!
    const last = full.filter((key) => path.basename(key).slice(8) < path.basename(begun).slice(8)).at(-1)!
    for (const key of full) if (key > last) repository.delete(key)
    for (const key of (await repository.keys()).filter((name) => name.includes('.partial'))) repository.delete(key)
    const bytes = await repository.get(last)
    repository.delete(last)
    {
      await using cluster = await startCluster({ major, directory: restored, env: repository.env, start: false })
      await cluster.start({ wait: 'none' })
      await waitUntil('the server to stop', () => {
        assert.doesNotMatch(cluster.logText(), /archive recovery complete|selected new timeline/, 'it promoted')
        return cluster.pid === undefined
      })
      assert.match(cluster.logText(), /is missing from the archive, and "00000002\.history" says/)
    }
    // The history of timeline 2 is there, since it was fetched.
    await assertInRecovery(restored, ['00000002.history'])
    await repository.set(last, bytes)
    await using again = await startRestored(major, restored, repository)
    await query(again, 'select * from on_first, on_second')
  })
})

/** Keys of the segments from the start of the backup on. */
function segmentsFrom(restored: string, objects: Map<string, Buffer>): string[] {
  const label = readFileSync(path.join(restored, 'backup_label'), 'utf8')
  const first = /file ([0-9A-F]{24})/.exec(label)![1]!
  const names = [...objects.keys()].filter((key) => /\/[0-9A-F]{24}\.zst$/.test(key)).sort()
  return names.filter((key) => path.basename(key) >= `${first}.zst`)
}

/** The server was not promoted: it is on timeline 1, has made no other, and will go on recovering. */
async function assertInRecovery(directory: string, fetched: readonly string[] = []): Promise<void> {
  const { control } = await readControlFile(directory)
  assert.equal(control.checkpointTimeline, 1)
  assert.ok(existsSync(path.join(directory, 'recovery.signal')))
  const wal = readdirSync(path.join(directory, 'pg_wal'))
  assert.deepEqual(
    wal.filter((name) => name.endsWith('.history') || name.startsWith('00000002')),
    fetched,
  )
}
