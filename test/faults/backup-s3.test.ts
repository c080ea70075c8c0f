/**
 * `pgsluice backup` against an S3 endpoint that fails: what it must survive, and how it must give up.
 *
 * After every failure: the exit code, one line with the cause, no backup record, no multipart upload, no session on the
 * server, no process and no temporary file (command-line.ts), and the next backup works.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { Scene } from '../support/backup-scene.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { cases } from './backup-s3-cases.js'

const MIB = 1024 * 1024
/** Short enough for stalls to be seen soon, long enough for two busy cores. */
const FLAGS = ['--request-timeout', '2s', '--max-attempts', '4', '--archive-timeout', '60s', '--jobs', '2']

const obstacle = await whyNoCommandLine()

describe('backup into an S3 endpoint that fails', { skip: obstacle ?? false }, () => {
  let scene: Scene

  before(async () => {
    scene = await Scene.open({ fillerBytes: 34 * MIB })
    await scene.backUp(FLAGS)
    scene.tidy()
  })
  after(() => scene.close())
  afterEach(() => scene.tidy())

  for (const each of cases) {
    const { name, faults = [], flags = FLAGS, sabotage, meanwhile, exitCode = 0, says = [], uploadsLeft = 0 } = each
    test(`backup ${name}`, async () => {
      for (const rule of faults) scene.endpoint.fault(rule)
      await sabotage?.(scene)
      const command = await scene.start(['backup', '--json', ...flags])
      await meanwhile?.(scene, command)
      const planted = meanwhile && exitCode === 4 ? scene.records() : []
      const result = await command.ended
      assert.equal(result.exitCode, exitCode, result.stderr)
      for (const text of says) assert.match(result.stderr, text)
      assert.doesNotMatch(result.stderr, /unexpected error|^\s+at /m)
      if (uploadsLeft > 0) {
        assert.equal(scene.endpoint.openUploads().length, uploadsLeft)
        scene.endpoint.clearFaults()
        assert.equal(await scene.abortUploads(), uploadsLeft)
      }
      const last = result.lines.at(-1)
      if (exitCode === 0) {
        assert.equal(last?.type, 'result')
        assert.equal(scene.records().length, 1)
        await scene.assertNothingLeft(scene.records())
      } else {
        assert.equal(last?.type === 'error' && last.exitCode, exitCode)
        await scene.assertNothingLeft(planted)
      }
      await each.afterwards?.(scene)
    })
  }

  test('after all of that a backup succeeds at once, and is the only one listed', async () => {
    const { id } = await scene.backUp(FLAGS)
    const { exitCode, stdout } = await scene.run(['list', '--json'])
    assert.equal(exitCode, 0)
    const { clusters } = JSON.parse(stdout) as { clusters: { backups: { id: string }[] }[] }
    assert.deepEqual(
      clusters.flatMap(({ backups }) => backups.map((backup) => backup.id)),
      [id],
    )
  })
})
