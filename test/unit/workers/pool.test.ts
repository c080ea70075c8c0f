/**
 * The pool with real threads that pack real files into the in-process endpoint: whatever happens to one of them, the
 * others have cleaned up behind themselves before anybody is told.
 */
import type { JobResult, PackJob } from '#src/archive/jobs.js'
import { ToolError } from '#src/errors.js'
import { WorkerPool } from '#src/workers/pool.js'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { S3Endpoint, useTestCredentials } from '../../support/s3-endpoint.js'
import { runProgram } from '../../support/server-user.js'
import { waitUntil } from '../../support/wait.js'

useTestCredentials()

const MIB = 1024 * 1024

describe('WorkerPool', () => {
  let endpoint: S3Endpoint
  let data: string
  const pools: WorkerPool[] = []

  before(async () => {
    endpoint = await S3Endpoint.start()
    endpoint.createBucket('bucket')
    data = mkdtempSync(path.join(tmpdir(), 'pgsluice-pool-'))
    writeFileSync(path.join(data, 'small'), randomBytes(1000))
    writeFileSync(path.join(data, 'large'), randomBytes(12 * MIB))
  })
  after(async () => {
    await endpoint.close()
    rmSync(data, { recursive: true })
  })
  afterEach(async () => {
    endpoint.clearFaults()
    for (const pool of pools.splice(0)) await pool.close()
    assert.deepEqual(endpoint.openUploads(), [], 'uploads that are open')
    for (const key of endpoint.keys('bucket')) endpoint.delete('bucket', key)
    endpoint.requests.length = 0
  })

  const open = (threads: number, graceMs = 60_000): WorkerPool => {
    const storage = { url: 's3://bucket', endpoint: endpoint.url, requestTimeoutMs: 60_000, partSizeBytes: 5 * MIB }
    const pool = new WorkerPool({ threads, storage, graceMs })
    pools.push(pool)
    return pool
  }
  const job = (archive: number, file: 'small' | 'large' | 'none'): PackJob => {
    const size = { small: 1000, large: 12 * MIB, none: 10 }[file]
    return {
      kind: 'pack',
      archive,
      key: `archive-${archive}`,
      dataDirectory: data,
      members: [{ index: archive, type: 'file', path: file, size, mode: 0o600, uid: 0, gid: 0, mtimeMs: 0 }],
      // above 32 MiB the archive is uploaded in parts
      objectBound: file === 'large' ? 40 * MIB : MIB,
      checksumAlgorithm: 'CRC32C',
      compressionLevel: 1,
    }
  }
  const isHeld = ({ operation }: { operation: string }): boolean => operation === 'UploadPart'
  const drain = async (results: AsyncIterable<JobResult>): Promise<number[]> => {
    const archives = []
    for await (const result of results) archives.push(archiveOf(result))
    return archives.sort((a, b) => a - b)
  }

  test('gives each of many jobs to whoever is free, and every result once', async () => {
    const pool = open(3)
    const numbers = Array.from({ length: 60 }, (_, index) => index)
    assert.deepEqual(await drain(pool.run(numbers.map((n) => job(n, n % 20 === 0 ? 'large' : 'small')))), numbers)
    assert.equal(endpoint.keys('bucket').length, 60)
    assert.ok(pool.doneBytes >= 57 * 1000 + 3 * 12 * MIB)
  })

  test('runs again on the same threads', async () => {
    const pool = open(2)
    for (const round of [0, 1, 2]) assert.deepEqual(await drain(pool.run([job(round, 'small')])), [round])
  })

  test('runs no job, and ends', async () => {
    assert.deepEqual(await drain(open(2).run([])), [])
  })

  test('takes the next job only when a thread is free', async () => {
    const pool = open(1)
    let taken = 0
    function* jobs(): Generator<PackJob> {
      for (; taken < 5; taken++) yield job(taken, 'small')
    }
    for await (const result of pool.run(jobs())) assert.ok(taken <= archiveOf(result) + 1)
  })

  test('rejects with the first failure, after it has ended the others and their uploads', async () => {
    const pool = open(3)
    endpoint.fault({ match: isHeld, action: 'stall' })
    endpoint.fault({ match: ({ key }) => key.endsWith('archive-2'), action: { status: 403, code: 'AccessDenied' } })
    async function* jobs(): AsyncGenerator<PackJob> {
      yield job(0, 'large')
      yield job(1, 'large')
      await waitUntil('two uploads', () => endpoint.openUploads().length === 2)
      yield job(2, 'small')
    }
    await assert.rejects(drain(pool.run(jobs())), (error) => {
      assert.ok(error instanceof ToolError)
      assert.match(error.message, /could not write "archive-2".*AccessDenied/)
      assert.equal(error.code, 'storage')
      assert.match(error.hint ?? '', /policy/)
      return true
    })
    assert.deepEqual(endpoint.openUploads(), [])
    assert.deepEqual(endpoint.keys('bucket'), [])
  })

  test('ends all jobs when the signal is aborted, and rejects with its reason', async () => {
    const pool = open(2)
    const controller = new AbortController()
    const reason = new ToolError('interrupted', 'interrupted by the test')
    endpoint.fault({ match: isHeld, action: 'stall' })
    const ended = drain(pool.run([job(0, 'large'), job(1, 'large')], controller.signal))
    ended.catch(() => undefined)
    await waitUntil('two uploads', () => endpoint.openUploads().length === 2)
    controller.abort(reason)
    await assert.rejects(ended, reason)
    assert.deepEqual(endpoint.openUploads(), [])
  })

  test('starts nothing when the signal was aborted before', async () => {
    const reason = new Error('too late')
    await assert.rejects(drain(open(1).run([job(0, 'small')], AbortSignal.abort(reason))), reason)
    assert.deepEqual(endpoint.requests, [])
  })

  test('ends the other jobs when the consumer stops early', async () => {
    const pool = open(2)
    endpoint.fault({ match: isHeld, action: 'stall' })
    let isClosed = false
    async function* jobs(): AsyncGenerator<PackJob> {
      try {
        yield job(0, 'large')
        await waitUntil('an upload', () => endpoint.openUploads().length === 1)
        yield job(1, 'small')
        yield job(2, 'small')
      } finally {
        isClosed = true
      }
    }
    for await (const result of pool.run(jobs())) {
      assert.equal(archiveOf(result), 1)
      break
    }
    assert.deepEqual(endpoint.openUploads(), [])
    assert.ok(isClosed, 'the source of the jobs was closed')
  })

  test('ends the running jobs when the source of jobs fails', async () => {
    const pool = open(2)
    endpoint.fault({ match: isHeld, action: 'stall' })
    async function* jobs(): AsyncGenerator<PackJob> {
      yield job(0, 'large')
      await waitUntil('an upload', () => endpoint.openUploads().length === 1)
      throw new ToolError('damaged', 'the index is damaged')
    }
    await assert.rejects(drain(pool.run(jobs())), /the index is damaged/)
    assert.deepEqual(endpoint.openUploads(), [])
  })

  test('terminates a thread that does not end within the grace time, and aborts its upload', async () => {
    const pool = open(1, 500)
    const controller = new AbortController()
    const reason = new ToolError('interrupted', 'interrupted by the test')
    endpoint.fault({ match: isHeld, action: 'stall' })
    // its own clean-up hangs once; the one from outside gets through
    endpoint.fault({ match: ({ operation }) => operation === 'AbortMultipartUpload', times: 1, action: 'stall' })
    const ended = drain(pool.run([job(0, 'large')], controller.signal))
    ended.catch(() => undefined)
    await waitUntil('the upload', () => endpoint.openUploads().length === 1)
    controller.abort(reason)
    await assert.rejects(ended, reason)
    assert.equal(endpoint.count('AbortMultipartUpload'), 2)
    assert.deepEqual(endpoint.openUploads(), [])
  })

  test('fails a job that makes no sense, and goes on with the next', async () => {
    const pool = open(1)
    const broken = { ...job(0, 'small'), members: undefined } as unknown as PackJob
    await assert.rejects(drain(pool.run([broken])), /undefined|members/)
    assert.deepEqual(await drain(pool.run([job(1, 'small')])), [1])
  })

  test('fails the job of a thread that ends in the middle of it, and goes on with a new one', async () => {
    const { url } = endpoint
    // runs in every thread before our own code: the one that gets this job ends
    const preload = `import { isMainThread, parentPort } from 'node:worker_threads'
      if (!isMainThread) {
        const on = parentPort.on
        parentPort.on = (name, listener) => on.call(parentPort, name, (message) => {
          if (message.job?.key === 'archive-13') process.exit(7)
          listener(message)
        })
      }`
    const script = `void (async () => {
      const { WorkerPool } = await import(${JSON.stringify(import.meta.resolve('#src/workers/pool.js'))})
      const pool = new WorkerPool({ threads: 1, graceMs: 1000, storage: ${JSON.stringify({ url: 's3://bucket', endpoint: url })} })
      const run = async (job) => { for await (const { archive } of pool.run([job])) console.log(archive) }
      await run(${JSON.stringify(job(13, 'small'))}).catch((error) => console.log(error.code, error.message))
      await run(${JSON.stringify(job(14, 'small'))})
      await pool.close() })()`
    const flags = [`--import=data:text/javascript,${encodeURIComponent(preload)}`, '-e', script]
    const { exitCode, stdout, stderr } = await runProgram(process.execPath, flags, { timeout: 60_000 })
    assert.equal(exitCode, 0, stderr)
    assert.equal(stdout, 'storage a worker thread ended in the middle of a job (exit 7)\n14\n')
  })

  test('close() ends threads that never had a job, and may be called twice', async () => {
    const pool = open(2)
    await pool.close()
    await drain(open(1).run([job(0, 'small')]))
    await pool.close()
  })
})

function archiveOf(result: JobResult): number {
  assert.ok('archive' in result)
  return result.archive
}
