/** Servers and data directories of which `pgsluice backup` must not take a backup; the reason, and nothing written. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { whyNoCommandLine, type CommandResult } from '../support/command-line.js'
import { query, startCluster } from '../support/postgres.js'
import { giveToServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

describe('backup of what must not be backed up', { skip: obstacle ?? false }, () => {
  let scene: Scene
  let home: string

  before(async () => {
    home = newHome()
    await giveToServerUser(home)
    scene = await Scene.open()
    await query(scene.cluster, 'create role limited login')
    await query(scene.cluster, 'grant execute on function pg_switch_wal() to limited')
    const { major } = scene.cluster
    const [start, stop] =
      major >= 15
        ? ['pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)']
        : ['pg_start_backup(text, boolean, boolean)', 'pg_stop_backup(boolean, boolean)']
    await query(scene.cluster, `grant execute on function ${start}, ${stop} to limited`)
  })
  after(async () => {
    await scene.close()
    removeHome(home)
  })
  afterEach(() => scene.tidy())

  const refused = async (result: CommandResult, exitCode: number, ...says: RegExp[]): Promise<void> => {
    assert.equal(result.exitCode, exitCode, result.stderr)
    for (const text of says) assert.match(result.stderr, text)
    assert.doesNotMatch(result.stderr, /unexpected error|^\s+at /m)
    await scene.assertNothingLeft([])
  }

  const labels: { name: string; label: string; says: RegExp }[] = [
    { name: 'with a line break', label: 'a\nSTART TIMELINE: 9', says: /label/ },
    { name: 'with a carriage return', label: 'a\rb', says: /label/ },
    { name: 'with a control character', label: 'a\u0007b', says: /label/ },
    { name: 'with an escape sequence', label: '\u001b[31mred', says: /label/ },
    { name: 'of more than 1024 bytes', label: 'ü'.repeat(513), says: /label.*102\d/ },
    { name: 'that is empty', label: '', says: /label/ },
  ]
  for (const { name, label, says } of labels) {
    test(`backup refuses a label ${name}, before it asks anybody (S2)`, async () => {
      const result = await scene.run(['backup', '--label', label])
      await refused(result, 2, says)
      assert.deepEqual(scene.keys(/\/base\//), [])
      const sent = result.stderr.replace(/[^\n\x20-\x7e]/g, '')
      assert.equal(sent, result.stderr, 'the message shows control characters escaped')
    })
  }

  const settings: { name: string; settings: Record<string, string>; says: RegExp[] }[] = [
    {
      name: 'wal_level minimal',
      settings: { wal_level: 'minimal', max_wal_senders: '0', archive_mode: 'off' },
      says: [/wal_level is "minimal"/, /HINT: Set wal_level = 'replica'/],
    },
    {
      name: 'archive_mode off',
      settings: { archive_mode: 'off' },
      says: [/archive_mode is off/, /HINT: Set archive_mode = on and archive_command/],
    },
    {
      name: 'an empty archive_command',
      settings: { archive_mode: 'on', archive_command: '' },
      says: [/archive_command is empty/, /HINT: Set archive_command/],
    },
  ]
  for (const { name, settings: given, says } of settings) {
    test(`backup refuses a server with ${name}, and says what to set (P9)`, async () => {
      await using other = await startCluster({ major: scene.cluster.major, settings: given })
      await refused(await scene.run(['backup'], { env: other.env }), 4, ...says)
    })
  }

  test('backup refuses a standby, and says to go to the primary (S8)', async () => {
    await scene.backUp()
    const target = path.join(home, 'standby')
    const restored = await scene.run(['restore', '--target-dir', target])
    assert.equal(restored.exitCode, 0, restored.stderr)
    renameSync(path.join(target, 'recovery.signal'), path.join(target, 'standby.signal'))
    await using standby = await startCluster({ major: scene.cluster.major, directory: target, env: scene.env })
    const records = scene.records()
    const { exitCode, stderr } = await scene.run(['backup'], { env: standby.env })
    assert.equal(exitCode, 4, stderr)
    assert.match(stderr, /the server is in recovery/)
    await scene.assertNothingLeft(records)
  })

  test('backup refuses the data directory of another cluster, by its path (P8)', async () => {
    await using other = await startCluster({ major: scene.cluster.major, start: false })
    const result = await scene.run(['backup', '--pgdata', other.pgdata])
    await refused(result, 4, /the data directory of the server is "[^"]+", not "[^"]+"/, /HINT: /)
  })

  test('backup refuses the data directory of another cluster, by its system identifier (P8)', async () => {
    await using other = await startCluster({ major: scene.cluster.major, start: false, ownInitdb: true })
    // this role may not see where the server has its own (P5)
    const result = await scene.run(['backup', '--pgdata', other.pgdata], { env: { PGUSER: 'limited' } })
    await refused(result, 4, /belongs to another cluster \(system identifier \d+\) than the server/)
  })

  test('backup refuses a copy of the data directory, which the server does not write to (P8)', async () => {
    await using copy = await startCluster({ major: scene.cluster.major, start: false })
    const result = await scene.run(['backup', '--pgdata', copy.pgdata], { env: { PGUSER: 'limited' } })
    await refused(result, 4, /is not what the server writes to: its last checkpoint is at/)
  })

  test('backup fails naming a file that it may not read, and leaves none out (P7, F5)', async () => {
    const file = path.join(scene.cluster.pgdata, 'base', 'unreadable')
    writeFileSync(file, 'x')
    await giveToServerUser(file)
    chmodSync(file, 0)
    try {
      await refused(await scene.run(['backup']), 3, /could not open "[^"]+\/base\/unreadable": EACCES/)
    } finally {
      chmodSync(file, 0o600)
    }
    await scene.backUp()
  })

  test('backup fails naming a directory that it may not read (P7)', async () => {
    const directory = path.join(scene.cluster.pgdata, 'unreadable')
    mkdirSync(directory)
    await giveToServerUser(directory)
    chmodSync(directory, 0)
    try {
      await refused(await scene.run(['backup']), 3, /"[^"]*unreadable".*EACCES/)
    } finally {
      chmodSync(directory, 0o700)
    }
  })
})
