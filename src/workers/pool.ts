/**
 * Runs jobs on worker threads: the next job goes to whoever is free, results come out as they are done.
 *
 * Jobs and results cross threads, bytes never do. The first failure aborts the others; nothing rejects before every
 * thread has cleaned up behind itself, so that nothing runs on behind the caller's back. A thread that does not answer
 * within the grace period is terminated and its multipart upload is aborted from here (architecture: threads).
 */
import { Worker } from 'node:worker_threads'
import { reasonOf, ToolError } from '../errors.js'
import type { Job, JobResult } from '../archive/jobs.js'
import { openStorage } from '../storage/open-storage.js'
import { abortUpload } from '../storage/stale-uploads.js'
import type { StorageOptions } from '../storage/storage-options.js'
import { fromPlainError, type FromThread, type ThreadData, type ToThread } from './wire.js'

/**
 * Of a thread's heap: garbage stays until it is full. With 12 and 32 MB a restore on a busy machine took 44 and 29 MiB more,
 * before what it received was let go at once (streams/let-go.ts).
 */
const YOUNG_GENERATION_MB = 3

/** How a pool is made. */
export interface PoolOptions {
  /** Threads, at least 1. */
  threads: number
  storage: StorageOptions
  /** Longest wait for a thread to clean up after an abort; longer than a request may take. */
  graceMs: number
}

/** Threads that live until {@link WorkerPool.close}. */
export class WorkerPool {
  readonly #options: PoolOptions
  readonly #threads: Thread[] = []

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Starts all threads now: they load what they need while somebody still plans their jobs. */
  start(): void {
    while (this.#threads.length < this.#options.threads) this.#threads.push(new Thread(this.#options.storage))
  }

  /** Bytes done by all threads so far. */
  get doneBytes(): number {
    return this.#threads.reduce((sum, thread) => sum + thread.doneBytes, 0)
  }

  /** Runs all jobs; yields each result as it is done, in no particular order. Rejects with the first failure. */
  async *run(
    jobs: AsyncIterable<Job> | Iterable<Job>,
    signal?: AbortSignal,
  ): AsyncGenerator<JobResult, void, undefined> {
    const source = Symbol.asyncIterator in jobs ? jobs[Symbol.asyncIterator]() : jobs[Symbol.iterator]()
    const running = new Map<Thread, Promise<Outcome>>()
    let exhausted = false
    let failure: { error: unknown } | undefined
    const hasFailed = (): boolean => failure !== undefined
    const abort = (): void => {
      for (const thread of running.keys()) thread.abort(this.#options.graceMs)
    }
    const onAbort = (): void => {
      failure ??= { error: signal?.reason as unknown }
      abort()
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        while (!exhausted && !failure && running.size < this.#options.threads) {
          signal?.throwIfAborted()
          const next = await source.next()
          if (hasFailed()) break // aborted meanwhile: a job started now would be on a thread that nobody aborts
          if (next.done) exhausted = true
          else {
            const thread = this.#freeThread(running)
            running.set(
              thread,
              thread.run(next.value).then(
                (result) => ({ thread, result }),
                (error: unknown) => ({ thread, error }),
              ),
            )
          }
        }
        if (running.size === 0) break
        const outcome = await Promise.race(running.values())
        running.delete(outcome.thread)
        if ('error' in outcome) {
          if (!failure) {
            failure = { error: outcome.error }
            abort()
          }
        } else if (!failure) yield outcome.result
      }
      if (failure) throw failure.error
    } finally {
      // also when the consumer stopped early, or the jobs' source failed
      signal?.removeEventListener('abort', onAbort)
      abort()
      await Promise.all(running.values())
      await source.return?.()
    }
  }

  /** Ends all threads. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()))
  }

  #freeThread(running: ReadonlyMap<Thread, unknown>): Thread {
    const free = this.#threads.find((thread) => !running.has(thread) && thread.usable)
    if (free) return free
    const thread = new Thread(this.#options.storage)
    this.#threads.push(thread)
    return thread
  }
}

type Outcome = { thread: Thread; result: JobResult } | { thread: Thread; error: unknown }

interface CurrentJob {
  resolve: (result: JobResult) => void
  reject: (error: unknown) => void
}

class Thread {
  usable = true
  #hadJob = false
  readonly #worker: Worker
  readonly #progress = new SharedArrayBuffer(8)
  readonly #storage: StorageOptions
  readonly #exited: Promise<void>
  #job: CurrentJob | undefined
  #upload: { key: string; uploadId: string } | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor(storage: StorageOptions) {
    this.#storage = storage
    const workerData: ThreadData = { storage, progress: this.#progress }
    this.#worker = new Worker(new URL('./thread.js', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    })
    this.#worker.on('message', (message: FromThread) => {
      if (message.type === 'upload') this.#upload = { key: message.key, uploadId: message.uploadId }
      else if (message.type === 'result') this.#settle()?.resolve(message.result)
      else this.#settle()?.reject(fromPlainError(message.error))
    })
    this.#worker.on('error', (cause: unknown) => {
      void this.#fail(new ToolError('storage', `a worker thread failed: ${reasonOf(cause)}`, { cause }))
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (code) => {
        void this.#fail(new ToolError('storage', `a worker thread ended in the middle of a job (exit ${code})`))
        resolve()
      })
    })
  }

  get doneBytes(): number {
    return Number(Atomics.load(new BigInt64Array(this.#progress), 0))
  }

  run(job: Job): Promise<JobResult> {
    this.#upload = undefined
    this.#hadJob = true
    return new Promise((resolve, reject) => {
      this.#job = { resolve, reject }
      this.#send({ type: 'job', job })
    })
  }

  abort(graceMs: number): void {
    this.usable = false
    this.#send({ type: 'abort' })
    this.#deadline ??= setTimeout(() => void this.#kill(), graceMs)
  }

  async close(): Promise<void> {
    if (this.#hadJob) this.#send({ type: 'close' })
    // it has nothing to clean up, and may still be loading
    else await this.#worker.terminate()
    await this.#exited
    clearTimeout(this.#deadline)
  }

  async #kill(): Promise<void> {
    const upload = this.#upload
    const job = this.#settle()
    await this.#worker.terminate()
    await this.#fail(new ToolError('storage', 'a worker thread did not stop in time and was terminated'), job, upload)
  }

  /** Ends the job of a thread that is gone, and the multipart upload that it can no longer abort itself (O5). */
  async #fail(error: ToolError, job = this.#settle(), upload = this.#upload): Promise<void> {
    this.usable = false
    if (!job) return
    if (!upload) {
      job.reject(error)
      return
    }
    try {
      const storage = await openStorage(this.#storage)
      try {
        await abortUpload(storage, upload)
      } finally {
        storage.close()
      }
      job.reject(error)
    } catch (cause) {
      const left = `${error.message}, and its upload of "${upload.key}" could not be aborted: ${reasonOf(cause)}`
      job.reject(new ToolError('storage', left, { cause: error }))
    }
  }

  #settle(): CurrentJob | undefined {
    const job = this.#job
    this.#job = undefined
    return job
  }

  #send(message: ToThread): void {
    this.#worker.postMessage(message)
  }
}
