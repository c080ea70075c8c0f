import { readProfile, storeOf, writeProfile } from '#src/repository/profile.js'
import { profileKey } from '#src/repository/layout.js'
import { withDirectory } from './wal-scene.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const ABLE = { createOnlyPut: true, createOnlyMultipart: true, checksumHeaders: true }
const WEAK = { ...ABLE, createOnlyPut: false }
const at = (second: number): Date => new Date(Date.UTC(2026, 10, 22, 12, 0, second))

test('readProfile() takes the newest of this store, and an older one where that is damaged (O6)', async () => {
  await withDirectory(async ({ storage }) => {
    assert.equal(await readProfile(storage, 'here'), undefined)
    await writeProfile(storage, ABLE, at(0))
    assert.equal(await readProfile(storage, 'here'), undefined, 'of an unknown store')
    await writeProfile(storage, ABLE, at(1), { store: 'here' })
    await writeProfile(storage, WEAK, at(2), { store: 'here' })
    await writeProfile(storage, ABLE, at(3), { store: 'there' })
    assert.deepEqual(await readProfile(storage, 'here'), WEAK)
    assert.deepEqual(await readProfile(storage, 'there'), ABLE)
    await storage.put(profileKey(at(4)), Buffer.from('damaged'))
    assert.deepEqual(await readProfile(storage, 'here'), WEAK)
  })
})

test('storeOf() tells endpoints and buckets apart, not prefixes', () => {
  const store = (url: string, endpoint?: string): string => storeOf({ url, endpoint })
  const endpoint = 'https://one.example'
  assert.equal(store('s3://a/x', endpoint), store('s3://a/y/z', `${endpoint}/`))
  assert.notEqual(store('s3://a/x', endpoint), store('s3://b/x', endpoint))
  assert.notEqual(store('s3://a/x', endpoint), store('s3://a/x', 'https://two.example'))
  assert.notEqual(store('s3://a/x', endpoint), store('s3://a/x'))
  assert.equal(store('file:///a'), store('file:///b'))
})
