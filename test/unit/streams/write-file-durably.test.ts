import { isTemporaryName, writeFileDurably } from '#src/streams/write-file-durably.js'
import assert from 'node:assert/strict'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgsluice-test-'))
})
afterEach(async () => rm(directory, { recursive: true, force: true }))

async function* pieces(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield await Promise.resolve(Buffer.from(text))
}

test('writeFileDurably() writes bytes and pieces, and resolves to their number', async () => {
  assert.equal(await writeFileDurably(join(directory, 'a'), Buffer.from('hello')), 5)
  assert.equal(await writeFileDurably(join(directory, 'b'), pieces('hel', '', 'lo!')), 6)
  assert.equal(await readFile(join(directory, 'b'), 'utf8'), 'hello!')
  assert.deepEqual((await readdir(directory)).sort(), ['a', 'b'])
})

test('writeFileDurably() writes an empty file', async () => {
  assert.equal(await writeFileDurably(join(directory, 'empty'), new Uint8Array(0)), 0)
  assert.equal((await stat(join(directory, 'empty'))).size, 0)
})

test('writeFileDurably() replaces unless told not to', async () => {
  const path = join(directory, 'file')
  await writeFile(path, 'old')
  await writeFileDurably(path, Buffer.from('new'))
  assert.equal(await readFile(path, 'utf8'), 'new')
  await assert.rejects(writeFileDurably(path, Buffer.from('newer'), { ifAbsent: true }), { code: 'EEXIST' })
  assert.equal(await readFile(path, 'utf8'), 'new')
  assert.deepEqual(await readdir(directory), ['file'])
})

test('writeFileDurably() gives the mode that was asked for', async () => {
  await writeFileDurably(join(directory, 'secret'), Buffer.from('x'), { mode: 0o600 })
  assert.equal((await stat(join(directory, 'secret'))).mode & 0o777, 0o600)
})

test('writeFileDurably() leaves neither file nor temporary name when the content fails', async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield* pieces('first')
    throw new Error('broke')
  }
  await assert.rejects(writeFileDurably(join(directory, 'file'), failing()), /broke/)
  assert.deepEqual(await readdir(directory), [])
})

test('writeFileDurably() shows no name but a temporary one before the end', async () => {
  const path = join(directory, 'file')
  let seen: string[] = []
  async function* looking(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('x')
    seen = await readdir(directory)
  }
  await writeFileDurably(path, looking())
  assert.equal(seen.length, 1)
  assert.ok(isTemporaryName(seen[0] ?? ''))
  assert.ok(!isTemporaryName('file'))
})

test('writeFileDurably() stops when aborted, with the reason', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      yield* pieces('x')
      controller.abort(reason)
    }
  }
  await assert.rejects(writeFileDurably(join(directory, 'file'), endless(), { signal: controller.signal }), reason)
  assert.deepEqual(await readdir(directory), [])
})
