/** A restore_command must outlive npm's caches. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { environmentOfCommands } from '../../support/command-line.js'

const root = fileURLToPath(new URL('../../../../', import.meta.url))

test('restore refuses to write a path in the cache of npx into restore_command, before anything else', async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'pgsluice-npx-'))
  t.after(() => {
    rmSync(home, { recursive: true })
  })
  const installed = join(home, '_npx/0123abcd/node_modules/pgsluice')
  mkdirSync(installed, { recursive: true })
  cpSync(join(root, 'dist'), join(installed, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(installed, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  mkdirSync(join(home, 'repository'))
  const target = join(home, 'restored')
  const args = ['restore', '--target-dir', target, '--repository', `file://${home}/repository`]
  const env = environmentOfCommands()
  const run = promisify(execFile)(process.execPath, [join(installed, 'dist/main.js'), ...args], { env })
  await assert.rejects(run, (error: Error & { code?: number; stderr?: string }) => {
    assert.equal(error.code, 2)
    assert.match(error.stderr ?? '', /in the cache of npx, which npm may empty\nHINT: Install pgsluice on this host/)
    return true
  })
  assert.equal(existsSync(target), false)
})
