import { ToolError } from '#src/errors.js'
import { openStorage } from '#src/storage/open-storage.js'
import { connectS3 } from '#src/storage/s3-client.js'
import { abortStaleUploads, staleUploads } from '#src/storage/stale-uploads.js'
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { afterEach, test } from 'node:test'
import { S3Endpoint, useTestCredentials } from '../../support/s3-endpoint.js'

afterEach(useTestCredentials)
useTestCredentials()

test('connectS3() uses path style and us-east-1 for an endpoint that is not of AWS', async () => {
  const client = await connectS3({ url: 's3://b', endpoint: 'http://127.0.0.1:1' })
  assert.equal(client.config.forcePathStyle, true)
  assert.equal(await client.config.region(), 'us-east-1')
  client.destroy()
})

test('connectS3() sees an endpoint that only the environment names', async () => {
  process.env['AWS_ENDPOINT_URL_S3'] = 'http://127.0.0.1:1'
  const client = await connectS3({ url: 's3://b' })
  assert.equal(client.config.forcePathStyle, true)
  assert.equal(await client.config.region(), 'us-east-1')
  client.destroy()
})

test('connectS3() leaves virtual hosts to AWS, also when its endpoint is named, and where path style is turned off', async () => {
  for (const options of [
    { region: 'eu-west-1' },
    { endpoint: 'https://s3.eu-west-1.amazonaws.com' },
    { endpoint: 'http://127.0.0.1:1', pathStyle: false },
  ]) {
    const client = await connectS3({ url: 's3://b', ...options })
    assert.equal(client.config.forcePathStyle, false)
    client.destroy()
  }
})

test('connectS3() says in one line that no region is set, or that an endpoint is none', async () => {
  await assert.rejects(connectS3({ url: 's3://b' }), { name: 'ToolError', message: 'no AWS region is set' })
  await assert.rejects(connectS3({ url: 's3://b', endpoint: 'localhost:9000' }), /"localhost:9000" is no endpoint/)
})

const failing = { url: 's3://bucket', maxAttempts: 1, requestTimeoutMs: 300 }

test('a request without credentials fails with one clear line', async () => {
  Reflect.deleteProperty(process.env, 'AWS_ACCESS_KEY_ID')
  const storage = await openStorage({ ...failing, endpoint: 'http://127.0.0.1:1' })
  await assert.rejects(storage.get('key'), (error) => {
    assert.ok(error instanceof ToolError)
    assert.equal(error.code, 'configuration')
    assert.equal(error.message, 'could not read "key" in bucket "bucket": no credentials were found')
    assert.match(error.hint ?? '', /AWS_ACCESS_KEY_ID/)
    return true
  })
  storage.close()
})

test('a server that accepts and says nothing does not hold a request for longer than the timeout', async () => {
  const accepted: Socket[] = []
  const server = createServer((socket) => accepted.push(socket.on('error', () => undefined)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const storage = await openStorage({ ...failing, endpoint })
  await assert.rejects(storage.get('key'), /no answer within the request timeout/)
  await assert.rejects(storage.put('key', Buffer.alloc(20_000_000)), /no answer within the request timeout/)
  storage.close()
  for (const socket of accepted) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
  // nothing listens there any more
  const refused = await openStorage({ ...failing, endpoint })
  await assert.rejects(
    refused.get('key'),
    (error) => error instanceof ToolError && /Nothing listens/.test(error.hint ?? ''),
  )
  refused.close()
})

const hints = {
  RequestTimeTooSkewed: /clock/,
  InvalidAccessKeyId: /access key/,
  SignatureDoesNotMatch: /secret access key/,
  NoSuchBucket: /Create the bucket/,
  AccessDenied: /policy/,
}
test('errors of the store carry a hint', async () => {
  const endpoint = await S3Endpoint.start()
  endpoint.createBucket('bucket')
  const storage = await openStorage({ url: 's3://bucket', maxAttempts: 1, endpoint: endpoint.url })
  for (const [code, hint] of Object.entries(hints)) {
    endpoint.fault({ match: () => true, times: 1, action: { status: 403, code } })
    await assert.rejects(storage.get('key'), (error) => error instanceof ToolError && hint.test(error.hint ?? ''), code)
  }
  const headers = { 'x-amz-bucket-region': 'eu-central-1' }
  endpoint.fault({ match: () => true, times: 1, action: { status: 301, code: 'PermanentRedirect', headers } })
  await assert.rejects(
    storage.get('key'),
    (error) => error instanceof ToolError && /eu-central-1/.test(error.hint ?? ''),
  )
  storage.close()
  await endpoint.close()
})

test('abortStaleUploads() removes uploads of the repository that are older than the limit, and no others', async () => {
  const endpoint = await S3Endpoint.start({ pageSize: 2 })
  endpoint.createBucket('bucket')
  const { S3Client, CreateMultipartUploadCommand } = await import('@aws-sdk/client-s3')
  const client = new S3Client({ endpoint: endpoint.url, forcePathStyle: true, region: 'us-east-1' })
  for (const key of ['mine/a', 'mine/b', 'mine/c', 'minerals/d']) {
    await client.send(new CreateMultipartUploadCommand({ Bucket: 'bucket', Key: key }))
  }
  const storage = await openStorage({ url: 's3://bucket/mine', endpoint: endpoint.url })
  const none = []
  for await (const upload of staleUploads(storage, { initiatedBefore: new Date(0) })) none.push(upload)
  assert.deepEqual(none, [])
  const aborted = await abortStaleUploads(storage, { initiatedBefore: new Date(Date.now() + 60_000) })
  assert.deepEqual(
    aborted.map(({ key }) => key),
    ['a', 'b', 'c'],
  )
  assert.deepEqual(
    endpoint.openUploads().map(({ key }) => key),
    ['minerals/d'],
  )
  client.destroy()
  storage.close()
  await endpoint.close()
})
