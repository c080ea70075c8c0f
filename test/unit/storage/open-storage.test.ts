import { ToolError } from '#src/errors.js'
import { openStorage } from '#src/storage/open-storage.js'
import { parseStorageUrl } from '#src/storage/storage-url.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const right = {
  's3://bucket': { kind: 's3', bucket: 'bucket', prefix: '' },
  's3://bucket/': { kind: 's3', bucket: 'bucket', prefix: '' },
  's3://my.bucket-1/a/b/': { kind: 's3', bucket: 'my.bucket-1', prefix: 'a/b' },
  'file:///var/backups': { kind: 'directory', path: '/var/backups' },
  'file:///with%20space': { kind: 'directory', path: '/with space' },
}
for (const [url, location] of Object.entries(right)) {
  test(`parseStorageUrl() reads ${url}`, () => {
    assert.deepEqual(parseStorageUrl(url), location)
  })
}

const wrong = [
  '', 'bucket/prefix', 's3:bucket', 's3://', 's3:///prefix', 's3://bucket/a//b', 's3://bucket/../x', 's3://bucket/a?b',
  'file://relative', 'file://host/path', 'file:/x', 'https://bucket', '/var/backups',
] // prettier-ignore
for (const url of wrong) {
  test(`openStorage() refuses "${url}" in one line that says what would be right`, async () => {
    await assert.rejects(openStorage({ url }), (error) => {
      assert.ok(error instanceof ToolError)
      assert.equal(error.code, 'usage')
      assert.equal(error.message, `"${url}" is no storage URL: s3://bucket/prefix or file:///path is needed`)
      return true
    })
  })
}

test('openStorage() does not repeat a secret that was put into the URL', async () => {
  await assert.rejects(openStorage({ url: 's3://key:secret@bucket' }), (error) => {
    assert.ok(error instanceof ToolError)
    assert.ok(!error.message.includes('secret'))
    return true
  })
})
