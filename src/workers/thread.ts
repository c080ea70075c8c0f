/** Entry of a worker thread: takes one job at a time, runs it, sends back its result or its error. */
import { parentPort, workerData } from 'node:worker_threads'
import { RateLimit } from '../streams/rate-limit.js'
import { openStorage } from '../storage/open-storage.js'
import { createJobRunner } from './run-job.js'
import { toPlainError, type FromThread, type ThreadData, type ToThread } from './wire.js'

const port = parentPort
if (!port) throw new Error('thread.js runs in a worker thread only')
const data = workerData as ThreadData
const progress = new BigInt64Array(data.progress)
const reads = data.storage.rate && new RateLimit(data.storage.rate, 'reads')
const controller = new AbortController()
const send = (message: FromThread): void => {
  port.postMessage(message)
}
// what an upload takes for its parts, a download may take for what comes ahead
const { partSizeBytes = 0, partsInFlight = 1 } = data.storage
const partBytes = partSizeBytes * partsInFlight
const opening = openStorage(data.storage).then((storage) => ({ storage, run: createJobRunner(storage, partBytes) }))
opening.catch(() => undefined) // reported by the first job, which awaits it

port.on('message', (message: ToThread) => {
  if (message.type === 'abort') controller.abort()
  else if (message.type === 'job') void work(message.job)
  else void finish()
})

async function work(job: Extract<ToThread, { type: 'job' }>['job']): Promise<void> {
  try {
    const { run } = await opening
    const result = await run(job, {
      signal: controller.signal,
      reads,
      addProgress: (bytes) => Atomics.add(progress, 0, BigInt(bytes)),
      onUploadStarted: (upload) => {
        send({ type: 'upload', ...upload })
      },
    })
    send({ type: 'result', result })
  } catch (error) {
    send({ type: 'error', error: toPlainError(error) })
  }
}

async function finish(): Promise<void> {
  const opened = await opening.catch(() => undefined)
  opened?.storage.close()
  port?.close()
}
