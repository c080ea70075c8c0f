import { storeWal, withDirectory } from './wal-scene.js'
import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const NAME = '000000010000000000000001'
const WEAK = { createOnlyPut: false, createOnlyMultipart: false, checksumHeaders: true }

test('pushWalFile() sees after the write that another one came between, where the store does not (A3)', async () => {
  await withDirectory(async ({ storage, directory }) => {
    const elsewhere = path.join(directory, 'elsewhere')
    mkdirSync(elsewhere)
    const put = storage.put.bind(storage)
    storage.put = async (key, body, options) => {
      storage.put = put
      const stored = await put(key, body, options)
      await storage.delete([key])
      await storeWal(storage, elsewhere, NAME, 'of the other server')
      return stored
    }
    await assert.rejects(storeWal(storage, directory, NAME, 'ours', { abilities: WEAK }), { code: 'conflict' })
    assert.equal((await storeWal(storage, directory, NAME, 'of the other server')).outcome, 'already-there')
  })
})

test('pushWalFile() succeeds on such a store where nobody else writes (A3)', async () => {
  await withDirectory(async ({ storage, directory }) => {
    assert.equal((await storeWal(storage, directory, NAME, 'ours', { abilities: WEAK })).outcome, 'stored')
  })
})
