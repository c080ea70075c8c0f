/**
 * `pgsluice backup` told to end, or killed, at every step. The steps are the events of `--json`; where a step would pass
 * too fast, a request of it is kept waiting, so that the signal always meets the same state.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { whyNoCommandLine, type RunningCommand } from '../support/command-line.js'
import { query } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const MIB = 1024 * 1024
const FLAGS = ['--jobs', '1', '--archive-timeout', '60s']

/** A step at which a backup can be met. */
interface Step {
  name: string
  /** Keeps the backup there; done when it is about to start. */
  hold?: (scene: Scene) => void
  reach: (scene: Scene, command: RunningCommand) => Promise<unknown>
  flags?: string[]
  /** Parts are in the bucket: a killed process cannot take them back. Nothing holds a step with `maybe`. */
  hasUpload?: boolean | 'maybe'
  /** The server looks whether we are still there only when this is over. */
  finish?: (scene: Scene) => Promise<unknown>
}

/** Holds all requests of an operation on such keys; `reach` waits for the first of them. */
function held(name: string, operation: string, key: RegExp, event: 'backup-planned' | 'archive-packed'): Step {
  const match = (request: { operation: string; key: string }): boolean =>
    request.operation === operation && key.test(request.key)
  return {
    name,
    hold: ({ endpoint }) => {
      endpoint.fault({ match, action: 'stall' })
    },
    reach: async ({ endpoint }, command) => {
      await command.waitForEvent(event)
      await waitUntil(`${operation} of ${String(key)}`, () => endpoint.requests.some(match))
    },
    hasUpload: operation === 'UploadPart',
  }
}

const steps: Step[] = [
  {
    name: 'while the server takes its checkpoint (S4)',
    flags: ['--checkpoint', 'spread'],
    reach: async ({ cluster }) => {
      await waitUntil('pg_backup_start() to wait', async () => {
        const waiting = await query(cluster, `select from pg_stat_activity where wait_event = 'CheckpointDone'`)
        return waiting.length > 0
      })
    },
    finish: ({ cluster }) => query(cluster, 'checkpoint'),
  },
  {
    name: 'when it has started',
    reach: (_, command) => command.waitForEvent('backup-started'),
    hasUpload: 'maybe',
  },
  held('in the middle of the first archive', 'UploadPart', /00000\.tar\.zst$/, 'backup-planned'),
  held('when the first archive is packed', 'PutObject', /00001\.tar\.zst$/, 'archive-packed'),
  {
    ...held('when it has stopped, while indexes are written', 'PutObject', /backup_manifest$/, 'archive-packed'),
    reach: async ({ endpoint }, command) => {
      await command.waitForEvent('backup-stopped')
      await waitUntil('the manifest', () => endpoint.requests.some(({ key }) => key.endsWith('backup_manifest')))
    },
  },
  {
    name: 'while it waits for WAL',
    reach: async ({ endpoint }, command) => {
      await command.waitForEvent('backup-started')
      const action = { status: 503, code: 'ServiceUnavailable' }
      endpoint.fault({ match: ({ method, key }) => method === 'PUT' && key.includes('/wal/'), action })
      await command.waitForEvent('backup-stopped')
      const seen = command.lines.length
      await waitUntil('the event "wal-awaited"', () =>
        command.lines.slice(seen).some(({ type }) => type === 'wal-awaited'),
      )
    },
  },
]

const obstacle = await whyNoCommandLine()

describe('backup that is told to end', { skip: obstacle ?? false }, () => {
  let scene: Scene

  before(async () => {
    // enough dirty pages for a spread checkpoint to take minutes
    scene = await Scene.open({ fillerBytes: 34 * MIB, settings: { checkpoint_timeout: '1h', max_wal_size: '1GB' } })
  })
  after(() => scene.close())
  afterEach(() => scene.tidy())

  const makeDirty = async (step: Step): Promise<void> => {
    if (step.flags === undefined) return
    await query(scene.cluster, 'create table if not exists dirty (id int, filler text) with (fillfactor = 10)')
    await query(scene.cluster, `insert into dirty select i, repeat('x', 700) from generate_series(1, 1000) i`)
  }

  const endings = steps.flatMap((step, index) => {
    const others = (['SIGTERM', 'SIGHUP'] as const).filter((_, at) => index % 3 === at + 1)
    return (['SIGINT', ...others] as const).map((signal) => ({ step, signal }))
  })
  const EXITS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }

  for (const { step, signal } of endings) {
    test(`${signal} ${step.name} ends it with ${EXITS[signal]}, and nothing is left (E11)`, async () => {
      await makeDirty(step)
      step.hold?.(scene)
      const command = await scene.start(['backup', '--json', ...FLAGS, ...(step.flags ?? [])])
      await step.reach(scene, command)
      command.kill(signal)
      const { exitCode, stderr, lines } = await command.ended
      assert.equal(exitCode, EXITS[signal], stderr)
      assert.match(stderr, new RegExp(`^interrupted by ${signal}: cleaning up`, 'm'))
      assert.match(stderr, new RegExp(`^pgsluice: interrupted by ${signal}$`, 'm'))
      assert.doesNotMatch(stderr, /unexpected error|^\s+at /m)
      const last = lines.at(-1)
      assert.equal(last?.type === 'error' && last.exitCode, EXITS[signal])
      await scene.assertNothingLeft([])
    })
  }

  for (const step of steps) {
    test(`SIGKILL ${step.name} commits nothing, frees the server, and the next backup succeeds (E9, E11)`, async () => {
      await makeDirty(step)
      step.hold?.(scene)
      const command = await scene.start(['backup', '--json', ...FLAGS, ...(step.flags ?? [])])
      await step.reach(scene, command)
      command.kill('SIGKILL')
      assert.equal((await command.ended).exitCode, 137)
      scene.endpoint.clearFaults()
      const uploads = scene.endpoint.openUploads().length
      const { hasUpload = false } = step
      assert.ok(hasUpload === 'maybe' ? uploads <= 1 : uploads === Number(hasUpload), `${uploads} uploads are open`)
      // what it could not take back can be found and taken back (O5)
      assert.equal(await scene.abortUploads(), uploads)
      await step.finish?.(scene)
      await scene.assertNothingLeft([])
      const { record } = await scene.backUp(FLAGS)
      assert.deepEqual(scene.records(), [record])
    })
  }

  test('a second signal, after a second, ends it at once and says beforehand that it would', async () => {
    steps[2]?.hold?.(scene)
    const isAbort = (request: { operation: string; key: string }): boolean =>
      request.operation === 'AbortMultipartUpload' && request.key.endsWith('.tar.zst')
    scene.endpoint.fault({ match: isAbort, action: 'stall' })
    const command = await scene.start(['backup', '--json', ...FLAGS])
    await steps[2]?.reach(scene, command)
    command.kill('SIGINT')
    await waitUntil('the clean-up', () => scene.endpoint.requests.some(isAbort))
    assert.match(command.stderr, /once more ends at once, and leaves what is there/)
    // repeats within a second are one signal: a terminal and a shell in between both pass it on
    let ended = false
    void command.ended.finally(() => (ended = true)).catch(() => undefined)
    await waitUntil('the end of the backup', () => {
      if (!ended) command.kill('SIGTERM')
      return ended
    })
    assert.equal((await command.ended).exitCode, 143)
    scene.endpoint.clearFaults()
    assert.equal(await scene.abortUploads(), 1)
    await scene.assertNothingLeft([])
  })
})
