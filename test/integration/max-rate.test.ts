/**
 * --max-rate on the real command line. Only lower bounds of time are asserted: a busy machine makes them longer, and
 * nothing but a limit that does not limit makes them shorter.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { openStorage } from '#src/storage/open-storage.js'
import type { Storage } from '#src/storage/storage.js'
import { changeRate, shareRate } from '#src/streams/rate-limit.js'
import { Scene } from '../support/backup-scene.js'
import { environmentOfCommands, MAIN } from '../support/command-line.js'
import { openWorkplace } from '../support/pgsluice.js'
import { giveToServerUser } from '../support/server-user.js'
import { waitUntil } from '../support/wait.js'

/** What may pass at once: the credit of a fifth of a second, and one piece of each of two threads. */
const atOnce = (rate: number): number => rate / 5 + 2 * 65536

const noProc = existsSync('/proc/self/task')
  ? false
  : 'this machine cannot say the priority of a thread: it has no /proc'

const noAutogroup =
  existsSync('/proc/self/autogroup') && readFileSync('/proc/sys/kernel/sched_autogroup_enabled', 'utf8').trim() === '1'
    ? false
    : 'this machine cannot weigh sessions: its kernel makes no group of each'

/** Fails after it has lowered its priority. */
const RESTORE = [
  ...[process.execPath, MAIN, 'restore', '--nice'],
  ...['--target-dir', '/nowhere/here', '--repository', 'file:///nowhere'],
]

const niceness = (pid: number, thread: string): number =>
  Number(/\) (?:\S+ ){16}(-?\d+)/.exec(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'))?.[1])

describe('--max-rate and --nice', () => {
  let scene: Scene
  let workplace: Awaited<ReturnType<typeof openWorkplace>>
  before(async () => {
    scene = await Scene.open({ fillerBytes: 16_000_000 })
    workplace = await openWorkplace()
  })
  after(async () => {
    await scene.close()
    workplace[Symbol.dispose]()
  })

  test('a backup reads the data directory no faster, also when SIGUSR2 has brought another rate', async () => {
    const file = workplace.at('pgsluice.yaml')
    writeFileSync(file, 'max-rate: 1MB/s\n')
    await giveToServerUser(file)
    const began = performance.now()
    const command = await scene.start(['backup', '--json', '--jobs', '2', '--config', file])
    const { bytes } = await command.waitForEvent('backup-planned')
    writeFileSync(file, 'max-rate: fast\n')
    command.kill('SIGUSR2')
    const { message } = await command.waitForEvent('warning')
    assert.match(message, /^the settings stay as they are: wrong value "fast" for "max-rate" \(.*pgsluice\.yaml:1\)/)
    writeFileSync(file, 'max-rate: 10MB/s\n')
    const slowUntil = performance.now()
    command.kill('SIGUSR2')
    assert.equal((await command.waitForEvent('rate-changed')).bytesPerSecond, 10e6)
    const { exitCode, stderr } = await command.ended
    const seconds = (performance.now() - began) / 1000
    assert.equal(exitCode, 0, stderr)
    const slowBytes = ((slowUntil - began) / 1000) * 1e6
    const least = (bytes - slowBytes - atOnce(10e6)) / 10e6
    assert.ok(least > 1, `the bound of ${least} s says something`)
    assert.ok(seconds >= least, `${bytes} bytes took ${seconds} s, and at 10 MB/s they take ${least} s`)
  })

  test('a restore loads no faster, over all threads, and --max-rate none takes back what the environment says', async () => {
    const { id } = await scene.backUp(['--max-rate', 'none'])
    const archived = scene.keys(new RegExp(`/base/${id}/.*\\.tar\\.zst$`))
    const loaded = (await Promise.all(archived.map((key) => scene.get(key)))).reduce((sum, b) => sum + b!.length, 0)
    assert.ok(loaded > 16_000_000, 'the filler does not compress')
    const began = performance.now()
    const { exitCode, stderr } = await scene.run(
      ['restore', id, '--quiet', '--jobs', '2', '--target-dir', workplace.at('restored')],
      { env: { PGSLUICE_MAX_RATE: '6MB/s' } },
    )
    const seconds = (performance.now() - began) / 1000
    assert.equal(exitCode, 0, stderr)
    const least = (loaded - atOnce(6e6)) / 6e6
    assert.ok(seconds >= least, `${loaded} bytes took ${seconds} s, and at 6 MB/s they take ${least} s`)
  })

  test('--nice lowers the priority of every thread, also of those that start later', { skip: noProc }, async () => {
    const command = await scene.start(['backup', '--json', '--nice', '--jobs', '2', '--max-rate', '64kB/s'])
    await command.waitForEvent('backup-planned')
    // the main thread, the pool of libuv and the garbage collector are eleven at most; a worker thread is there beside them
    const threads = await waitUntil('a worker thread', () => {
      const found = readdirSync(`/proc/${command.pid}/task`)
      return found.length >= 12 && found
    })
    const nice = threads.map((id) => niceness(command.pid, id))
    const group = noAutogroup === false && readFileSync(`/proc/${command.pid}/autogroup`, 'utf8')
    const warned = command.lines.some((line) => line.type === 'warning' && line.message.startsWith('--nice:'))
    const io = warned ? undefined : execFileSync('ionice', ['-p', threads.at(-1)!], { encoding: 'utf8' })
    command.kill('SIGTERM')
    await command.ended
    assert.ok(
      nice.every((value) => value >= 10),
      nice.join(' '),
    )
    if (group) assert.match(group, /nice 10$/m)
    assert.match(io ?? 'ionice is not here, and that was said', /^best-effort: prio 7|not here/)
  })

  test('--nice leaves a session that others began as it is, and says so', { skip: noAutogroup }, async (t) => {
    // a session of its own, so that it does not matter which one this test is in; its shell is the one that began it
    const shell = spawn(
      '/bin/sh',
      ['-c', 'cat /proc/self/autogroup; "$@"; cat /proc/self/autogroup', 'sh', ...RESTORE],
      {
        env: environmentOfCommands(),
        detached: true,
      },
    )
    const [stdout, stderr] = await Promise.all([text(shell.stdout), text(shell.stderr)])
    const [before, after, ...others] = stdout.split('\n')
    if (before === '') {
      t.skip('this machine cannot weigh sessions: control groups come first')
      return
    }
    assert.match(
      stderr,
      /^WARNING: --nice: the priority of the session stays as it is, .*: others are in it\nHINT: .*setsid --wait/m,
    )
    assert.match(before!, /nice 0$/)
    assert.equal(after, before)
    assert.deepEqual(others, [''])
  })

  for (const kind of ['upload', 'download'] as const) {
    test(`two clients of one rate share it for an ${kind}`.replace('an download', 'a download'), async () => {
      const options = { url: 's3://backups/rate', endpoint: scene.endpoint.url, requestTimeoutMs: 10_000 }
      const rate = shareRate(undefined)
      const storages = [await openStorage({ ...options, rate }), await openStorage({ ...options, rate })]
      const body = Buffer.alloc(1_500_000, kind)
      try {
        const move = async (storage: Storage, index: number): Promise<number> => {
          const key = `rate-${index}`
          if (kind === 'upload') return (await storage.put(key, body)).size
          return Buffer.concat(await (await storage.get(key)).toArray()).length
        }
        if (kind === 'download')
          for (const [index, storage] of storages.entries()) await storage.put(`rate-${index}`, body)
        changeRate(rate, 1_500_000)
        const began = performance.now()
        assert.deepEqual(await Promise.all(storages.map(move)), [1_500_000, 1_500_000])
        const seconds = (performance.now() - began) / 1000
        assert.ok(seconds >= (3_000_000 - atOnce(1_500_000)) / 1_500_000, `${seconds} s`)
      } finally {
        for (const storage of storages) storage.close()
      }
    })
  }
})
