/**
 * `pgsluice restore` told to end, or killed, at every step: a signal leaves the target as it was, a kill leaves what
 * cannot be started as a server (R6), and the same command run once more succeeds (R17).
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { whyNoCommandLine, type CommandResult, type RunningCommand } from '../support/command-line.js'
import { postgresBinaries } from '../support/postgres-binaries.js'
import { query, startCluster } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

interface Step {
  name: string
  /** Reads of such keys wait for ever. */
  held?: RegExp
  reach?: (command: RunningCommand) => Promise<unknown>
}

const steps: Step[] = [
  { name: 'before the first file', held: /00000\.tar\.zst$/ },
  { name: 'between two archives', held: /00001\.tar\.zst$/ },
  { name: 'when all files are written', held: /backup_manifest$/ },
  {
    name: 'while it syncs',
    reach: (command) =>
      waitUntil('the sync', () =>
        command.lines.some((line) => line.type === 'step' && line.message === 'syncing to disk'),
      ),
  },
]

const obstacle = await whyNoCommandLine()

describe('restore that is told to end', { skip: obstacle ?? false }, () => {
  let scene: Scene
  let home: string
  let location: string
  let targets = 0

  before(async () => {
    home = newHome()
    location = path.join(home, 'space')
    mkdirSync(location)
    await giveToServerUser(home)
    scene = await Scene.open()
    await query(scene.cluster, `create tablespace space location '${location}'`)
    await query(scene.cluster, 'create table inside tablespace space as select generate_series(1, 10) as id')
    await scene.backUp()
  })
  after(async () => {
    await scene.close()
    removeHome(home)
  })
  afterEach(() => {
    scene.endpoint.clearFaults()
    scene.endpoint.requests.length = 0
  })

  const newTarget = (): { target: string; space: string; args: string[] } => {
    const target = path.join(home, `target-${++targets}`)
    const space = `${target}-space`
    const mapping = ['--tablespace-mapping', `${location}=${space}`]
    return { target, space, args: ['restore', '--json', '--jobs', '1', '--target-dir', target, ...mapping] }
  }
  const reach = async (step: Step, args: readonly string[]): Promise<RunningCommand> => {
    const { held } = step
    const isHeld = ({ method, key }: { method: string; key: string }): boolean =>
      method === 'GET' && held?.test(key) === true
    if (held) scene.endpoint.fault({ match: isHeld, action: 'stall' })
    const command = await scene.start(args)
    if (held) await waitUntil(`the read of ${String(held)}`, () => scene.endpoint.requests.some(isHeld))
    await step.reach?.(command)
    return command
  }

  /** Nothing holds a sync: where the restore was over before the signal came, it is done once more. */
  const interrupt = async (
    step: Step,
    signal: NodeJS.Signals,
  ): Promise<ReturnType<typeof newTarget> & { ended: CommandResult }> => {
    for (let attempt = 1; ; attempt++) {
      const place = newTarget()
      const command = await reach(step, place.args)
      command.kill(signal)
      const ended = await command.ended
      const isOver = ended.exitCode === 0 || existsSync(path.join(place.target, 'global/pg_control'))
      if (!isOver || step.held !== undefined || attempt === 5) return { ...place, ended }
    }
  }

  for (const [index, step] of steps.entries()) {
    const [signal, code] = [
      ['SIGINT', 130],
      ['SIGTERM', 143],
      ['SIGHUP', 129],
    ][index % 3] as [NodeJS.Signals, number]
    test(`${signal} ${step.name} ends it with ${code}, and the target is as it was`, async () => {
      const { target, space, ended } = await interrupt(step, signal)
      const { exitCode, stderr } = ended
      assert.equal(exitCode, code, stderr)
      assert.match(stderr, new RegExp(`^pgsluice: interrupted by ${signal}$`, 'm'))
      assert.deepEqual([existsSync(target), existsSync(space)], [false, false], 'neither was there before')
    })

    test(`SIGKILL ${step.name} leaves what no server starts on (R6), and the same command again succeeds`, async () => {
      const { target, args, ended } = await interrupt(step, 'SIGKILL')
      assert.equal(ended.exitCode, 137)
      scene.endpoint.clearFaults()
      assert.ok(!existsSync(path.join(target, 'global/pg_control')))
      const { postgres } = postgresBinaries(scene.cluster.major)
      const started = await runAsServerUser(postgres, ['-D', target, '-c', 'listen_addresses='])
      assert.notEqual(started.exitCode, 0)
      const again = await scene.run(args)
      assert.equal(again.exitCode, 0, again.stderr)
      assert.ok(existsSync(path.join(target, 'global/pg_control')))
      assert.deepEqual(
        readdirSync(target).filter((name) => name.includes('pgsluice')),
        [],
      )
    })
  }

  test('what was restored by the second run starts, recovers, and holds what was backed up', async () => {
    const { target, args } = newTarget()
    const command = await reach(steps[1]!, args)
    command.kill('SIGKILL')
    await command.ended
    scene.endpoint.clearFaults()
    assert.equal((await scene.run(args)).exitCode, 0)
    await using restored = await startCluster({ major: scene.cluster.major, directory: target, env: scene.env })
    const [row] = await query<{ n: number }>(restored, 'select count(*)::int as n from inside')
    assert.equal(row?.n, 10)
  })

  test('a target that a killed restore left does not make a tablespace location in use its own (R1)', async () => {
    const { target, args } = newTarget()
    const command = await reach(steps[1]!, args)
    command.kill('SIGKILL')
    await command.ended
    scene.endpoint.clearFaults()
    const before = readdirSync(location, { recursive: true }).sort()
    const { exitCode, stderr } = await scene.run(['restore', '--target-dir', target])
    assert.equal(exitCode, 4, stderr)
    assert.match(stderr, /the tablespace location "[^"]+" holds files of a cluster/)
    assert.deepEqual(readdirSync(location, { recursive: true }).sort(), before)
  })
})
