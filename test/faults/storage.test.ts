/**
 * Everything that S3 can do wrong to a request, in tables: sabotage, and what must come of it.
 *
 * After each: no multipart upload is left (but where its abort was the fault), and nothing hangs.
 */
import { ExistsError, NotFoundError, ToolError } from '#src/errors.js'
import { openStorage } from '#src/storage/open-storage.js'
import type { StorageOptions } from '#src/storage/storage-options.js'
import type { PartSource, PutOptions, Storage, StoredObject } from '#src/storage/storage.js'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { after, afterEach, before, describe, test } from 'node:test'
import { S3Endpoint, useTestCredentials } from '../support/s3-endpoint.js'
import type { EndpointRequest, FaultAction } from '../support/s3-endpoint.js'

useTestCredentials()

const MIB = 1024 * 1024
const PART = 5 * MIB
/** Short, so that a stall is seen soon, and long enough for a loaded machine to answer. */
const TIMEOUT_MS = 1000

const small = randomBytes(1000)
const large = randomBytes(3 * PART + 1000)

function on(operation: string, extra?: (request: EndpointRequest) => boolean): (request: EndpointRequest) => boolean {
  return (request) => request.operation === operation && (extra === undefined || extra(request))
}

function sourceOf(content: Buffer): PartSource {
  let position = 0
  return {
    fill(buffer) {
      const piece = content.subarray(position, position + buffer.length)
      buffer.set(piece)
      position += piece.length
      return Promise.resolve(piece.length)
    },
  }
}

describe('a storage whose endpoint fails', () => {
  let endpoint: S3Endpoint
  const opened: Storage[] = []

  before(async () => {
    endpoint = await S3Endpoint.start()
    endpoint.createBucket('bucket')
  })
  after(async () => endpoint.close())
  afterEach(() => {
    for (const storage of opened.splice(0)) storage.close()
    endpoint.clearFaults()
    for (const key of endpoint.keys('bucket')) endpoint.delete('bucket', key)
  })

  const open = async (options: Partial<StorageOptions> = {}): Promise<Storage> => {
    const storage = await openStorage({
      url: 's3://bucket',
      endpoint: endpoint.url,
      requestTimeoutMs: TIMEOUT_MS,
      maxAttempts: 3,
      partSizeBytes: PART,
      ...options,
    })
    opened.push(storage)
    return storage
  }

  const puts = {
    'one request': (storage: Storage, options?: PutOptions) => storage.put('key', small, options),
    'a stream in parts': (storage: Storage, options?: PutOptions) =>
      storage.put('key', Readable.from([large], { objectMode: false }), options),
    'a part source': (storage: Storage, options?: PutOptions) =>
      storage.put('key', sourceOf(large), { ...options, maxSize: 64 * MIB }),
  } satisfies Record<string, (storage: Storage, options?: PutOptions) => Promise<StoredObject>>
  const operationsOf = {
    'one request': ['PutObject'],
    'a stream in parts': ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload', 'HeadObject'],
    'a part source': ['CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload', 'HeadObject'],
  }

  const passing: Record<string, FaultAction> = {
    'a reset': 'reset',
    'a stall': 'stall',
    'a 503': { status: 503, code: 'ServiceUnavailable' },
    'a 500': { status: 500, code: 'InternalError' },
    'a SlowDown': { status: 503, code: 'SlowDown' },
    'a RequestTimeout': { status: 400, code: 'RequestTimeout' },
  }
  const lasting: Record<string, { action: FaultAction; expect: RegExp }> = {
    'a reset': { action: 'reset', expect: /ECONNRESET/ },
    'a stall': { action: 'stall', expect: /no answer within the request timeout/ },
    'a storm of 503': {
      action: { status: 503, code: 'ServiceUnavailable' },
      expect: /HTTP 503, .*request id/,
    },
    'a refusal': {
      action: { status: 403, code: 'AccessDenied' },
      expect: /"key" in bucket "bucket".*HTTP 403/,
    },
  }

  for (const how of ['one request', 'a stream in parts', 'a part source'] as const) {
    for (const operation of operationsOf[how]) {
      for (const [what, action] of Object.entries(passing)) {
        // an answer to HEAD has no body, so no code that would tell this 400 from another
        if (operation === 'HeadObject' && what === 'a RequestTimeout') continue
        test(`put() of ${how} survives ${what} of ${operation}`, async () => {
          endpoint.fault({ match: on(operation), times: 1, action })
          const stored = await puts[how](await open())
          const content = how === 'one request' ? small : large
          assert.equal(stored.size, content.length)
          assert.ok((await endpoint.get('bucket', 'key'))?.equals(content))
          assert.deepEqual(endpoint.openUploads(), [])
        })
      }
      for (const [what, { action, expect }] of Object.entries(lasting)) {
        test(`put() of ${how} gives up on ${what} of ${operation} that lasts, and leaves no upload`, async () => {
          endpoint.fault({ match: on(operation), action })
          await assert.rejects(puts[how](await open()), (error) => {
            assert.ok(error instanceof ToolError)
            assert.equal(error.code, 'storage')
            assert.match(error.message, expect)
            return true
          })
          assert.deepEqual(endpoint.openUploads(), [])
        })
      }
    }
  }

  for (const how of ['a stream in parts', 'a part source'] as const) {
    test(`put() of ${how} sends a part again that was cut, and one that stalled, in mid-body`, async () => {
      endpoint.fault({ match: on('UploadPart'), times: 1, action: { cutBodyAfter: MIB } })
      endpoint.fault({ match: on('UploadPart'), times: 1, action: { stallBodyAfter: MIB } })
      await puts[how](await open())
      assert.ok((await endpoint.get('bucket', 'key'))?.equals(large))
      assert.deepEqual(endpoint.openUploads(), [])
    })

    test(`put() of ${how} names the failed part rather than the abort that fails too, and tells of both`, async () => {
      endpoint.fault({ match: on('UploadPart'), action: { status: 403, code: 'AccessDenied' } })
      endpoint.fault({ match: on('AbortMultipartUpload'), action: { status: 403, code: 'AccessDenied' } })
      await assert.rejects(puts[how](await open()), (error) => {
        assert.ok(error instanceof ToolError)
        assert.match(
          error.message,
          /^could not write part \d of "key".*; its parts stay in the bucket, since upload \S+/,
        )
        assert.ok(error.cause instanceof AggregateError)
        assert.equal(error.cause.errors.length, 2)
        return true
      })
      const [left] = endpoint.openUploads()
      assert.ok(left !== undefined)
      endpoint.clearFaults()
      const { abortUpload } = await import('#src/storage/stale-uploads.js')
      await abortUpload(await open(), left)
      assert.deepEqual(endpoint.openUploads(), [])
    })

    test(`put() of ${how} takes an error in a 200 answer to complete for an error (O1)`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), action: 'error-in-200' })
      await assert.rejects(puts[how](await open()), /could not complete "key".*InternalError/)
      assert.deepEqual(endpoint.openUploads(), [])
    })

    test(`put() of ${how} wants an ETag from complete (O1)`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), action: 'no-etag' })
      await assert.rejects(puts[how](await open()), /no ETag/)
    })

    test(`put() of ${how} notices an object that is shorter than what was sent (O1)`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), action: 'drop-last-part' })
      await assert.rejects(puts[how](await open()), new RegExp(`${large.length} bytes were stored, but it has`))
    })

    test(`put() of ${how} finds its own object when the answer to complete was lost`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), times: 1, action: 'lose-answer' })
      const stored = await puts[how](await open())
      assert.equal(stored.size, large.length)
      assert.ok((await endpoint.get('bucket', 'key'))?.equals(large))
    })

    test(`put() of ${how} with ifAbsent leaves the comparison to the caller when the answer was lost`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), times: 1, action: 'lose-answer' })
      await assert.rejects(puts[how](await open(), { ifAbsent: true }), ExistsError)
      assert.ok((await endpoint.get('bucket', 'key'))?.equals(large))
      assert.deepEqual(endpoint.openUploads(), [])
    })

    test(`put() of ${how} fails when somebody aborted its upload and nothing is there`, async () => {
      endpoint.fault({ match: on('CompleteMultipartUpload'), action: { status: 404, code: 'NoSuchUpload' } })
      await assert.rejects(puts[how](await open(), { ifAbsent: true }), /could not complete "key".*NoSuchUpload/)
      assert.deepEqual(endpoint.openUploads(), [])
    })

    test(`put() of ${how} with ifAbsent asks again after a conflict (409)`, async () => {
      const action = { status: 409, code: 'ConditionalRequestConflict' }
      endpoint.fault({ match: on('CompleteMultipartUpload'), times: 2, action })
      await puts[how](await open(), { ifAbsent: true })
      assert.ok((await endpoint.get('bucket', 'key'))?.equals(large))
    })
  }

  test('put() with ifAbsent leaves the comparison to the caller when the answer was lost', async () => {
    endpoint.fault({ match: on('PutObject'), times: 1, action: 'lose-answer' })
    await assert.rejects(puts['one request'](await open(), { ifAbsent: true }), ExistsError)
    assert.ok((await endpoint.get('bucket', 'key'))?.equals(small))
  })

  test('put() with ifAbsent asks again after a conflict (409), and gives up at last', async () => {
    const action = { status: 409, code: 'ConditionalRequestConflict' }
    endpoint.fault({ match: on('PutObject'), times: 2, action })
    await puts['one request'](await open(), { ifAbsent: true })
    endpoint.delete('bucket', 'key')
    endpoint.fault({ match: on('PutObject'), action })
    await assert.rejects(puts['one request'](await open(), { ifAbsent: true }), /ConditionalRequestConflict/)
  })

  for (const action of ['reset', 'stall', { cutBodyAfter: MIB }, { stallBodyAfter: MIB }] as const) {
    const what = typeof action === 'string' ? `a ${action}` : JSON.stringify(action)
    test(`get() goes on after ${what}`, async () => {
      await endpoint.set('bucket', 'key', large)
      endpoint.fault({ match: on('GetObject'), times: 2, action })
      const stream = await (await open()).get('key', { offset: 10 })
      const found = Buffer.concat((await stream.toArray()) as Buffer[])
      assert.ok(found.equals(large.subarray(10)))
    })
  }

  test('get() gives up on a body that breaks again and again without a new byte', async () => {
    await endpoint.set('bucket', 'key', large)
    endpoint.fault({ match: on('GetObject'), action: { cutBodyAfter: 0 } })
    const stream = await (await open()).get('key')
    await assert.rejects(stream.toArray(), /could not read "key" after 0 of \d+ bytes/)
  })

  test('get() does not splice two versions of an object', async () => {
    for (const ignoreIfMatch of [false, true]) {
      endpoint.weaknesses.ignoreIfMatch = ignoreIfMatch
      await endpoint.set('bucket', 'key', large)
      endpoint.fault({ match: on('GetObject'), times: 1, action: { cutBodyAfter: MIB } })
      const stream = await (await open()).get('key')
      await endpoint.set('bucket', 'key', randomBytes(large.length))
      await assert.rejects(stream.toArray(), /"key": it was replaced while it was read/)
    }
    endpoint.weaknesses.ignoreIfMatch = false
  })

  test('get() fails when the store ignores the range', async () => {
    endpoint.weaknesses.ignoreRange = true
    await endpoint.set('bucket', 'key', small)
    await assert.rejects((await open()).get('key', { offset: 10 }), /ignored the range/)
    endpoint.weaknesses.ignoreRange = false
  })

  const absences: Record<string, { status: number; code: string; headers?: Record<string, string> }> = {
    'a 403': { status: 403, code: 'AccessDenied' },
    'a missing bucket': { status: 404, code: 'NoSuchBucket' },
    'a delete marker': { status: 404, code: 'NoSuchKey', headers: { 'x-amz-delete-marker': 'true' } },
    'an unknown user': { status: 404, code: 'XAdminUserNotFound' },
    'a bare 404': { status: 404, code: '' },
  }
  for (const [what, notFound] of Object.entries(absences)) {
    test(`get() does not take ${what} for an absence (G2)`, async () => {
      endpoint.fault({ match: on('GetObject'), action: notFound })
      await assert.rejects((await open()).get('key'), (error) => {
        assert.ok(error instanceof ToolError && !(error instanceof NotFoundError))
        return true
      })
    })
  }

  test('delete() rejects naming the keys that a 200 answer says were not deleted', async () => {
    endpoint.fault({ match: on('DeleteObjects'), action: 'deny-each-key' })
    await assert.rejects((await open()).delete(['a', 'b']), /could not delete "a", "b" from bucket "bucket": denied/)
  })

  test('delete() deletes one by one where DeleteObjects is not implemented', async () => {
    endpoint.weaknesses.noDeleteObjects = true
    const keys = Array.from({ length: 30 }, (_, index) => `many/${index}`)
    for (const key of keys) await endpoint.set('bucket', key, small)
    await (await open()).delete(keys)
    assert.deepEqual(endpoint.keys('bucket'), [])
    endpoint.weaknesses.noDeleteObjects = false
  })

  test('list() fails rather than give keys out of order or twice', async () => {
    endpoint.weaknesses.unorderedLists = true
    for (const key of ['b', 'a']) await endpoint.set('bucket', key, small)
    await assert.rejects(async () => {
      for await (const { key } of (await open()).list('')) assert.equal(key, 'b')
    }, /out of order/)
    endpoint.weaknesses.unorderedLists = false
  })

  test('an abort while the endpoint stalls ends at once and leaves no upload', async () => {
    for (const how of ['a stream in parts', 'a part source'] as const) {
      const controller = new AbortController()
      const reason = new ToolError('interrupted', 'interrupted by the test')
      endpoint.fault({
        match: on('UploadPart', () => {
          setImmediate(() => {
            controller.abort(reason)
          })
          return true
        }),
        action: 'stall',
      })
      const storage = await open({ requestTimeoutMs: 60_000 })
      await assert.rejects(puts[how](storage, { signal: controller.signal }), reason)
      assert.deepEqual(endpoint.openUploads(), [])
      endpoint.clearFaults()
    }
  })
})
