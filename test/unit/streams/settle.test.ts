import { settle } from '#src/streams/settle.js'
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'

function coded(code: string): Error {
  return Object.assign(new Error(code), { code })
}

test('settle() resolves to the values of all sides', async () => {
  assert.deepEqual(await settle([Promise.resolve(1), Promise.resolve('two')]), [1, 'two'])
})

test('settle() waits for every side before it rejects', async () => {
  const events: string[] = []
  const slow = new Promise<void>((resolve) => setImmediate(resolve)).then(() => events.push('slow side ended'))
  await assert.rejects(settle([Promise.reject(new Error('fast')), slow]), /fast/)
  assert.deepEqual(events, ['slow side ended'])
})

for (const echo of ['ABORT_ERR', 'ERR_STREAM_PREMATURE_CLOSE']) {
  test(`settle() throws the cause rather than its echo ${echo}, whatever their order`, async () => {
    const cause = new Error('the cause')
    await assert.rejects(settle([Promise.reject(coded(echo)), Promise.reject(cause)]), cause)
    await assert.rejects(settle([Promise.reject(cause), Promise.reject(coded(echo))]), cause)
  })

  test(`settle() throws ${echo} when there is nothing else`, async () => {
    await assert.rejects(settle([Promise.reject(coded(echo)), Promise.resolve()]), { code: echo })
  })
}

test('settle() throws why the consumer failed, not that the pipeline was closed for it', async () => {
  const body = new PassThrough()
  const consume = async (): Promise<void> => {
    for await (const chunk of body) {
      throw new Error(`S3 said no to ${String(chunk)}`)
    }
  }
  await assert.rejects(settle([pipeline(Readable.from(['a', 'b']), body), consume()]), /S3 said no/)
})
