import { inspectStorage } from '#src/storage/inspect.js'
import { openStorage } from '#src/storage/open-storage.js'
import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { S3Endpoint, useTestCredentials } from '../../support/s3-endpoint.js'
import type { Weaknesses } from '../../support/s3-endpoint.js'

useTestCredentials()

const cases: Record<string, { weaknesses: Weaknesses; abilities: [boolean, boolean, boolean]; notYes: string[] }> = {
  'that can do everything': { weaknesses: {}, abilities: [true, true, true], notYes: [] },
  'that ignores If-None-Match': {
    weaknesses: { ignoreIfNoneMatch: true, ignoreIfNoneMatchOnComplete: true },
    abilities: [false, false, true],
    notYes: ['create-only-put no', 'create-only-multipart no'],
  },
  'that ignores If-None-Match on complete': {
    weaknesses: { ignoreIfNoneMatchOnComplete: true },
    abilities: [true, false, true],
    notYes: ['create-only-multipart no'],
  },
  'that takes no checksum headers': {
    weaknesses: { rejectChecksumHeaders: true },
    abilities: [true, true, false],
    notYes: ['checksum-headers failed'],
  },
  'that ignores ranges': {
    weaknesses: { ignoreRange: true },
    abilities: [true, true, true],
    notYes: ['ranged-read failed'],
  },
  'that forbids to delete': {
    weaknesses: { noDelete: true },
    abilities: [true, true, true],
    notYes: ['delete failed'],
  },
}

for (const [what, { weaknesses, abilities, notYes }] of Object.entries(cases)) {
  test(`inspectStorage() finds out about a store ${what} (O6)`, async () => {
    const endpoint = await S3Endpoint.start({ weaknesses })
    try {
      endpoint.createBucket('bucket')
      const storage = await openStorage({ url: 's3://bucket/repository', endpoint: endpoint.url })
      const found = await inspectStorage(storage)
      storage.close()
      const [createOnlyPut, createOnlyMultipart, checksumHeaders] = abilities
      assert.deepEqual(found.abilities, { createOnlyPut, createOnlyMultipart, checksumHeaders })
      const bad = found.probes.filter(({ result }) => result !== 'yes').map(({ name, result }) => `${name} ${result}`)
      assert.deepEqual(bad, notYes)
      const left = found.leftKeys.map((key) => `repository/${key}`).sort()
      assert.deepEqual(endpoint.keys('bucket'), left)
      assert.equal(left.length > 0, weaknesses.noDelete === true)
      assert.deepEqual(endpoint.openUploads(), [])
    } finally {
      await endpoint.close()
    }
  })
}

test('inspectStorage() reports a store that cannot be written, and skips what needs that', async () => {
  const endpoint = await S3Endpoint.start()
  try {
    const storage = await openStorage({ url: 's3://missing', endpoint: endpoint.url })
    const { probes } = await inspectStorage(storage)
    storage.close()
    assert.match(probes[0]?.detail ?? '', /NoSuchBucket/)
    const results = probes.map(({ name, result }) => `${name} ${result}`)
    assert.deepEqual(results.slice(0, 2), ['write failed', 'checksum-headers skipped'])
    assert.ok(results.includes('list failed'))
  } finally {
    await endpoint.close()
  }
})

test('inspectStorage() finds a directory able to do everything, and leaves nothing in it', async () => {
  const path = await mkdtemp(join(tmpdir(), 'pgsluice-test-'))
  try {
    const { abilities, probes } = await inspectStorage(await openStorage({ url: pathToFileURL(path).href }))
    assert.deepEqual(abilities, { createOnlyPut: true, createOnlyMultipart: true, checksumHeaders: true })
    assert.ok(probes.every(({ result }) => result === 'yes'))
    assert.deepEqual(await readdir(path), [])
  } finally {
    await rm(path, { recursive: true, force: true })
  }
})
