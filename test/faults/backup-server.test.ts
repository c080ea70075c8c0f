/** `pgsluice backup` of a server that goes away, throws us out, or stops archiving in the middle of it. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { whyNoCommandLine, type RunningCommand } from '../support/command-line.js'
import { query } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const MIB = 1024 * 1024
const FLAGS = ['--jobs', '1', '--archive-timeout', '60s', '--request-timeout', '3s']

interface Case {
  name: string
  /** Default: before the backup is started. */
  when?: 'in mid-copy'
  sabotage: (scene: Scene) => Promise<unknown>
  flags?: string[]
  says: RegExp[]
  /** Makes the server as it was. */
  repair?: (scene: Scene) => Promise<unknown>
  check?: (command: RunningCommand) => void
}

async function archiveCommand(scene: Scene, command: string | undefined): Promise<void> {
  const change = command === undefined ? 'reset archive_command' : `set archive_command = '${command}'`
  await query(scene.cluster, `alter system ${change}`)
  await query(scene.cluster, 'select pg_reload_conf()')
  await waitUntil('the new archive_command', async () => {
    const [row] = await query<{ is: string }>(scene.cluster, `select current_setting('archive_command') as is`)
    return (row?.is === 'false') === (command === 'false')
  })
}

const cases: Case[] = [
  {
    name: 'the postmaster is killed in mid-copy (P1, P2)',
    when: 'in mid-copy',
    sabotage: ({ cluster }) => cluster.kill(),
    says: [/^pgsluice: .*connection to PostgreSQL.*(was lost|terminat|closed)/m],
    repair: ({ cluster }) => cluster.start(),
  },
  {
    name: 'the server crashes in mid-copy (P1, P2)',
    when: 'in mid-copy',
    sabotage: ({ cluster }) => cluster.crash(),
    says: [/^pgsluice: .*connection to PostgreSQL.*(was lost|terminat|closed)/m],
    repair: ({ cluster }) => cluster.start(),
  },
  {
    name: 'the server is restarted in mid-copy (P1)',
    when: 'in mid-copy',
    sabotage: async ({ cluster }) => {
      await cluster.stop('fast')
      await cluster.start()
    },
    says: [/terminating connection due to administrator command/],
  },
  {
    name: 'its session is terminated in mid-copy (P2)',
    when: 'in mid-copy',
    sabotage: ({ cluster }) =>
      query(
        cluster,
        `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgsluice' and pid <> pg_backend_pid()`,
      ),
    says: [/terminating connection due to administrator command/],
  },
  {
    name: 'archive_command fails from the beginning: nothing is copied (S11)',
    sabotage: (scene) => archiveCommand(scene, 'false'),
    flags: ['--jobs', '1', '--archive-timeout', '2s', '--request-timeout', '3s'],
    says: [/WAL segment "[0-9A-F]{24}" did not reach the archive within 2 s/, /HINT: .*archive_command/],
    repair: (scene) => archiveCommand(scene, undefined),
    check: (command) => {
      assert.ok(!command.lines.some(({ type }) => type === 'backup-started'))
    },
  },
  {
    name: 'archive_command fails since the copy: the missing segment is named (E6)',
    when: 'in mid-copy',
    sabotage: (scene) => archiveCommand(scene, 'false'),
    // the timeout is also that of the segment that proves archiving before the copy
    flags: ['--jobs', '1', '--archive-timeout', '15s', '--request-timeout', '6s'],
    says: [/WAL segment "[0-9A-F]{24}" did not reach the archive within 15 s/],
    repair: (scene) => archiveCommand(scene, undefined),
    check: (command) => {
      const started = command.lines.find((line) => line.type === 'backup-started')
      const awaited = command.lines.findLast((line) => line.type === 'wal-awaited')
      assert.ok(started && awaited)
      assert.equal(awaited.segment, started.startSegment)
      assert.match(command.stderr, new RegExp(`"${awaited.segment}" did not reach`))
    },
  },
]

function isArchivePart({ operation, key }: { operation: string; key: string }): boolean {
  return operation === 'UploadPart' && key.endsWith('.tar.zst')
}

const obstacle = await whyNoCommandLine()

describe('backup of a server that fails', { skip: obstacle ?? false }, () => {
  let scene: Scene

  before(async () => {
    scene = await Scene.open({ fillerBytes: 34 * MIB })
  })
  after(() => scene.close())
  afterEach(() => scene.tidy())

  for (const { name, when, sabotage, flags = FLAGS, says, repair, check } of cases) {
    test(`backup fails when ${name}; nothing is committed, and the next one succeeds`, async () => {
      const { endpoint } = scene
      if (when === undefined) await sabotage(scene)
      else endpoint.fault({ match: isArchivePart, times: 2, action: 'stall' })
      const command = await scene.start(['backup', '--json', ...flags])
      if (when !== undefined) {
        await command.waitForEvent('backup-planned')
        await waitUntil('the first part', () => endpoint.requests.some(isArchivePart))
        await sabotage(scene)
      }
      const { exitCode, stderr } = await command.ended
      assert.equal(exitCode, 3, stderr)
      for (const text of says) assert.match(stderr, text)
      assert.doesNotMatch(stderr, /unexpected error|^\s+at /m)
      check?.(command)
      await repair?.(scene)
      await scene.assertNothingLeft([])
      await scene.backUp(FLAGS)
      assert.equal(scene.records().length, 1)
    })
  }
})
