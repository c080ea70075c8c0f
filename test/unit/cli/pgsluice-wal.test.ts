/**
 * The shell front, run as PostgreSQL runs it: a shell, the data directory as working directory, an exit code. What
 * stands for Node.js is mostly a shell script that ends as the test says; the real one where its own failures matter.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, beforeEach, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const source = fileURLToPath(new URL('../../../../src/cli/pgsluice-wal', import.meta.url))
// Whichever of these the machine has; every system has the first.
const shells = [['sh'], ['dash'], ['bash'], ['busybox', 'sh']].filter(
  ([command = '', ...rest]) => spawnSync(command, [...rest, '-c', 'exit 0']).status === 0,
)

/** A program that ends with $FAKE_EXIT, after writing $FAKE_CONTENT to DEST; it records its arguments beside itself. */
const FAKE_NODE = `#!/bin/sh
for argument do printf '%s\\n' "$argument"; done >"$FAKE_RECORD"
if [ -n "\${FAKE_CONTENT+set}" ]; then printf '%s' "$FAKE_CONTENT" >"$5"; fi
exit "$FAKE_EXIT"
`
/** What Node.js runs in the tests of signals: it says when it is ready, and ends as told when SIGTERM comes. */
const PATIENT_MAIN = `
process.on('SIGTERM', () => { console.log('told to stop'); process.exitCode = Number(process.env.FAKE_EXIT); clearInterval(wait) })
const wait = setInterval(() => {}, 1_000_000)
console.log('ready')
`

let root: string
/** A data directory, new for each test. */
let pgdata: string
/** Where the package is installed: the front and main.js side by side, in a path that needs quoting. */
let installed: string
let front: string
let fakeNode: string
let record: string

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'pgsluice wal-front-'))
  installed = join(root, "it's a package", 'dist')
  await mkdir(installed, { recursive: true })
  front = join(installed, 'pgsluice-wal')
  fakeNode = join(root, 'fake node')
  record = join(root, 'arguments')
  await copyFile(source, front)
  await chmod(front, 0o755)
  await writeFile(join(installed, 'main.js'), PATIENT_MAIN)
  await writeFile(join(installed, 'package.json'), '{"type":"module"}')
  await writeFile(fakeNode, FAKE_NODE, { mode: 0o755 })
})
beforeEach(async () => {
  pgdata = await mkdtemp(join(root, 'pg data-'))
})
after(async () => {
  await rm(root, { recursive: true, force: true })
})

interface Ended {
  code: number | null
  stderr: string
}

async function run(command: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const [program = '', ...args] = command
  const child = spawn(program, args, {
    cwd: pgdata,
    env: { ...process.env, FAKE_RECORD: record, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const [[code], stderr] = await Promise.all([once(child, 'close') as Promise<[number | null]>, text(child.stderr)])
  return { code, stderr }
}

const FETCH = ['fetch', '000000010000000000000001', 'pg_wal.RECOVERYXLOG']
const PUSH = ['push', 'pg_wal/000000010000000000000001']

// Node.js ends with | push ends with | fetch ends with | fetch where standby.signal is there ends with
const EXIT_CODES: readonly (readonly [node: number, push: number, fetch: number, standby: number])[] = [
  [0, 0, 0, 0],
  [1, 1, 200, 1],
  [2, 2, 200, 1],
  [3, 3, 200, 1],
  [9, 9, 200, 1],
  [44, 44, 1, 1],
  [70, 70, 200, 1],
  [125, 125, 200, 1],
  [126, 3, 200, 1],
  [127, 3, 200, 1],
  [130, 3, 200, 1],
  [134, 3, 200, 1],
  [137, 3, 200, 1],
  [143, 3, 143, 143],
  [200, 3, 200, 1],
  [255, 3, 200, 1],
]

for (const shell of shells) {
  describe(`pgsluice-wal under ${shell.join(' ')}`, () => {
    test('it maps every exit code of Node.js to the one that PostgreSQL reads rightly', async () => {
      const seen = []
      for (const [node] of EXIT_CODES) {
        const env = { FAKE_EXIT: String(node), FAKE_CONTENT: 'wal' }
        const command = [...shell, front, '--node', fakeNode]
        const fetch = await run([...command, ...FETCH], env)
        const push = await run([...command, ...PUSH], { FAKE_EXIT: String(node) })
        await writeFile(join(pgdata, 'standby.signal'), '')
        const standby = await run([...command, ...FETCH], env)
        await rm(join(pgdata, 'standby.signal'))
        seen.push([node, push.code, fetch.code, standby.code])
      }
      assert.deepEqual(seen, EXIT_CODES)
    })

    test('a failure does not end a promotion, for which the server asks for the history that it leaves', async () => {
      await mkdir(join(pgdata, 'pg_wal'))
      await writeFile(join(pgdata, 'pg_wal/00000003.history'), 'what the server has')
      const codes = async (): Promise<(number | null)[]> => {
        const seen = []
        for (const name of ['00000001.history', '00000003.history', '00000004.history', '000000030000000000000003']) {
          const command = [...shell, front, '--node', join(root, 'nowhere'), 'fetch', name, 'pg_wal/RECOVERYHISTORY']
          seen.push((await run(command)).code)
        }
        return seen
      }
      assert.deepEqual(await codes(), [200, 200, 200, 200], 'no server runs here')
      await writeFile(join(pgdata, 'postmaster.pid'), '1\n')
      assert.deepEqual(await codes(), [1, 1, 200, 200])
      await writeFile(join(pgdata, 'recovery.signal'), '')
      assert.deepEqual(await codes(), [200, 200, 200, 200], 'it recovers')
    })

    for (const [what, content] of Object.entries({ missing: undefined, empty: '' })) {
      test(`fetch does not believe an exit code of 0 when its file is ${what}`, async () => {
        const env = { FAKE_EXIT: '0', ...(content === undefined ? {} : { FAKE_CONTENT: content }) }
        const { code, stderr } = await run([...shell, front, '--node', fakeNode, ...FETCH], env)
        assert.equal(code, 200)
        assert.match(stderr, /"pg_wal\.RECOVERYXLOG" is missing or empty/)
      })
    }

    for (const [signal, exits] of Object.entries({ SIGKILL: [3, 200], SIGABRT: [3, 200], SIGTERM: [3, 143] })) {
      test(`a Node.js that dies of ${signal} is a failure`, async () => {
        const suicide = join(root, 'suicide')
        await writeFile(suicide, `#!/bin/sh\nkill -s ${signal.slice(3)} $$\n`, { mode: 0o755 })
        const push = await run([...shell, front, '--node', suicide, ...PUSH])
        const fetch = await run([...shell, front, '--node', suicide, ...FETCH])
        assert.deepEqual([push.code, fetch.code], exits)
      })
    }

    test('a Node.js that is not there is a failure that names it', async () => {
      for (const node of [join(root, 'nowhere'), record.slice(0, record.lastIndexOf('/'))]) {
        const push = await run([...shell, front, '--node', node, ...PUSH])
        const fetch = await run([...shell, front, '--node', node, ...FETCH])
        assert.deepEqual([push.code, fetch.code], [3, 200])
        for (const { stderr } of [push, fetch]) assert.ok(stderr.includes(`could not run Node.js "${node}"`), stderr)
      }
    })

    for (const [verb, exits] of Object.entries({ push: [3, 3, 0, 70], fetch: [143, 200, 200, 200] })) {
      test(`${verb} passes SIGTERM on to Node.js and waits for what it makes of it`, async () => {
        const seen = []
        for (const asked of ['143', '3', '0', '70']) {
          const args = [...shell.slice(1), front, '--node', process.execPath, verb, 'name', 'dest']
          const child = spawn(shell[0]!, args, { cwd: pgdata, env: { ...process.env, FAKE_EXIT: asked } })
          const closed = once(child, 'close') as Promise<[number | null]>
          let said = ''
          child.stdout.on('data', (chunk: Buffer) => {
            said += chunk.toString()
            if (said === 'ready\n') child.kill('SIGTERM')
          })
          seen.push((await closed)[0])
          assert.equal(said, 'ready\ntold to stop\n')
        }
        assert.deepEqual(seen, exits)
      })
    }

    test('it is found through symbolic links, as npm installs it, and keeps the arguments as they are', async () => {
      const bin = await mkdtemp(join(root, 'bin '))
      await symlink(`../${front.slice(root.length + 1)}`, join(bin, 'relative'))
      await symlink('relative', join(bin, 'relative of relative'))
      await symlink(front, join(bin, 'absolute'))
      const odd = ['push', 'a path\twith $odd "characters" *', '--config', '', 'x y']
      for (const name of ['relative', 'relative of relative', 'absolute']) {
        const { code } = await run([...shell, join(bin, name), '--node', fakeNode, ...odd], { FAKE_EXIT: '0' })
        assert.equal(code, 0)
        const [main = '', ...rest] = (await readFile(record, 'utf8')).split('\n')
        assert.equal(await readFile(main, 'utf8'), PATIENT_MAIN)
        assert.deepEqual(rest, ['wal', ...odd, ''])
      }
    })

    test('wrong use is 2, but never looks like the end of WAL to a server in recovery', async () => {
      const uses: [args: string[], code: number, inRecovery: number][] = [
        [[], 2, 200],
        [['--help'], 2, 200],
        [['restore', 'name', 'dest'], 2, 200],
        [['--node'], 2, 200],
        [['push'], 2, 2],
        [['push', '--help'], 2, 2],
        [['push', '--version', 'path'], 2, 2],
        [['fetch'], 200, 200],
        [['fetch', 'name'], 200, 200],
        [['fetch', '--config', 'file', 'name', 'dest'], 200, 200],
        [['fetch', 'name', 'dest', '--help'], 200, 200],
      ]
      const seen = []
      for (const [args] of uses) {
        const { code, stderr } = await run([...shell, front, ...args])
        assert.match(stderr, /^usage: pgsluice-wal/m)
        await writeFile(join(pgdata, 'recovery.signal'), '')
        seen.push([args, code, (await run([...shell, front, ...args])).code])
        await rm(join(pgdata, 'recovery.signal'))
      }
      assert.deepEqual(seen, uses)
    })
  })
}

describe('pgsluice-wal and its Node.js', () => {
  test('--node comes before PGSLUICE_NODE, and that before the PATH', async () => {
    const bin = await mkdtemp(join(root, 'path-'))
    await writeFile(join(bin, 'node'), '#!/bin/sh\nexit 11\n', { mode: 0o755 })
    await writeFile(join(bin, 'other'), '#!/bin/sh\nexit 12\n', { mode: 0o755 })
    await writeFile(join(bin, 'third'), '#!/bin/sh\nexit 13\n', { mode: 0o755 })
    const PATH = `${bin}:/usr/bin:/bin`
    const PGSLUICE_NODE = join(bin, 'other')
    const codes = [
      (await run([front, ...PUSH], { PATH, PGSLUICE_NODE: '' })).code,
      (await run([front, ...PUSH], { PATH, PGSLUICE_NODE })).code,
      (await run([front, '--node', join(bin, 'third'), ...PUSH], { PATH, PGSLUICE_NODE })).code,
    ]
    assert.deepEqual(codes, [11, 12, 13])
  })

  const broken: Record<string, string> = {
    'a module is missing': "import 'pgsluice-is-not-here'",
    'it is no JavaScript': '<html>',
  }
  for (const [what, main] of Object.entries(broken)) {
    test(`where ${what}, Node.js ends with 1 and fetch does not pass that on`, async () => {
      const copy = await mkdtemp(join(root, 'broken-'))
      await copyFile(source, join(copy, 'pgsluice-wal'))
      await writeFile(join(copy, 'main.js'), main)
      await writeFile(join(copy, 'package.json'), '{"type":"module"}')
      const command = ['sh', join(copy, 'pgsluice-wal'), '--node', process.execPath]
      assert.equal((await run([process.execPath, join(copy, 'main.js')])).code, 1)
      assert.equal((await run([...command, ...FETCH])).code, 200)
      assert.equal((await run([...command, ...PUSH])).code, 1)
    })
  }

  test('a bad NODE_OPTIONS is a failure of fetch', async () => {
    const { code } = await run(['sh', front, '--node', process.execPath, ...FETCH], {
      NODE_OPTIONS: '--no-such-option',
    })
    assert.equal(code, 200)
  })
})
