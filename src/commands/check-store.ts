/** The store: every ability tried once, then its clock, its speed, and how its bucket is set up. */
import type { Settings } from '../config/settings.js'
import { reasonOf } from '../errors.js'
import { inspectStorage, type Probe } from '../storage/inspect.js'
import { measureStorage, type StorageSpeed } from '../storage/measure.js'
import { openStorage } from '../storage/open-storage.js'
import type { Storage } from '../storage/storage.js'
import { storeNow } from '../storage/store-clock.js'
import { readStoreFacts } from '../storage/store-facts.js'
import { bucketFindings } from './bucket-findings.js'
import type { CommandContext } from './context.js'
import { add, attempt, type Finding } from './findings.js'
import { keepProfile, storageOptions } from './open-repository.js'

/** The time of an answer has whole seconds, and is as old as its way here. */
const SKEW_WARNING_MS = 30_000
/** From here on stores refuse requests (RequestTimeTooSkewed), until the SDK has learnt the difference. */
const SKEW_REFUSED_MS = 15 * 60_000

/** A store that can be written. */
export interface CheckedStore {
  storage: Storage
  speed: StorageSpeed | undefined
}

/** Checks the store; undefined where nothing can be written to it. */
export async function checkStore(
  settings: Settings,
  findings: Finding[],
  context: CommandContext,
): Promise<CheckedStore | undefined> {
  const { signal } = context
  return attempt(findings, 'repository', async () => {
    const options = storageOptions(settings)
    const storage = await openStorage(options)
    try {
      const { probes, abilities, leftKeys } = await inspectStorage(storage, { signal })
      // what could not be tried, since nothing can be written, says nothing of its own
      const tried = probes.filter(({ result }) => result !== 'skipped')
      findings.push(...tried.map((probe) => probeFinding(probe, storage.url)))
      if (probes.some(({ result }) => result === 'yes')) await checkBucket(storage, findings, signal)
      const writable = probes.some(({ name, result }) => name === 'write' && result === 'yes')
      if (!writable) {
        storage.close()
        return undefined
      }
      const able = await openStorage({ ...options, abilities })
      const speed = await measure(able, findings, signal).finally(() => {
        able.close()
      })
      const left = leftKeys.length + (speed?.leftKey === undefined ? 0 : 1)
      if (left > 0) {
        const what = `${left} objects of this check stay, since they could not be deleted`
        add(findings, 'repository', 'ok', `${what}: a backup host needs no right to delete`)
      }
      await keepProfile(options, { probes, abilities }, signal)
      return { storage, speed }
    } catch (error) {
      storage.close()
      throw error
    }
  })
}

/** What the store tells of itself: a store that tells nothing is none the worse. */
async function checkBucket(storage: Storage, findings: Finding[], signal: AbortSignal): Promise<void> {
  const facts = await readStoreFacts(storage, signal)
  if (facts === undefined) return
  findings.push(...bucketFindings(facts))
  await checkClock(storage, findings, signal)
}

async function checkClock(storage: Storage, findings: Finding[], signal: AbortSignal): Promise<void> {
  const before = Date.now()
  let store: Date
  try {
    store = await storeNow(storage, signal)
  } catch (error) {
    signal.throwIfAborted()
    add(findings, 'repository', 'ok', `clock of the store: unknown (${reasonOf(error)})`)
    return
  }
  const skewMs = store.getTime() - (before + Date.now()) / 2
  const seconds = Math.abs(Math.round(skewMs / 1000))
  if (seconds * 1000 < SKEW_WARNING_MS) {
    add(findings, 'repository', 'ok', 'the clocks of this host and of the store agree')
    return
  }
  const what = `the clock of this host is ${seconds} s ${skewMs > 0 ? 'behind' : 'ahead of'} that of the store`
  const refused = seconds * 1000 >= SKEW_REFUSED_MS ? ': stores refuse such requests' : ''
  add(findings, 'repository', 'warning', what + refused, 'sudo timedatectl set-ntp true')
}

async function measure(storage: Storage, findings: Finding[], signal: AbortSignal): Promise<StorageSpeed | undefined> {
  return attempt(findings, 'repository', async () => {
    const speed = await measureStorage(storage, signal)
    const rate = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(1)} MiB/s`
    const { latencyMs, writeBytesPerSecond: written, readBytesPerSecond: read } = speed
    const small = `a small read takes ${latencyMs} ms`
    add(
      findings,
      'repository',
      'ok',
      `${small}; one object of 8 MiB was written at ${rate(written)}, read at ${rate(read)}`,
    )
    return speed
  })
}

const PROBE_TEXTS: Readonly<Record<Probe['name'], { ok: string; no: string; fatal: boolean }>> = {
  write: { ok: 'objects can be written', no: 'objects cannot be written', fatal: true },
  read: { ok: 'objects can be read', no: 'objects cannot be read', fatal: true },
  'ranged-read': { ok: 'parts of objects can be read', no: 'parts of objects cannot be read', fatal: true },
  list: { ok: 'objects can be listed', no: 'objects cannot be listed', fatal: true },
  delete: {
    ok: 'objects can be deleted',
    no: 'objects cannot be deleted: retention has to run elsewhere',
    fatal: false,
  },
  'checksum-headers': {
    ok: 'checksums are verified on arrival',
    no: 'checksum headers are not taken; writes go without',
    fatal: false,
  },
  'create-only-put': {
    ok: 'create-only writes are honoured',
    no: 'create-only writes are not honoured: two servers that archive to the same place at the same moment could overwrite each other',
    fatal: false,
  },
  'create-only-multipart': {
    ok: 'create-only multipart uploads are honoured',
    no: 'create-only multipart uploads are not honoured; a look before the write stands in for them',
    fatal: false,
  },
}

/** What each probe needs to be allowed: on the objects of the repository, or on its bucket. */
const ACTIONS: Readonly<Record<Probe['name'], { action: string; isOfBucket?: true }>> = {
  write: { action: 's3:PutObject' },
  read: { action: 's3:GetObject' },
  'ranged-read': { action: 's3:GetObject' },
  list: { action: 's3:ListBucket', isOfBucket: true },
  delete: { action: 's3:DeleteObject' },
  'checksum-headers': { action: 's3:PutObject' },
  'create-only-put': { action: 's3:PutObject' },
  'create-only-multipart': { action: 's3:PutObject' },
}

function probeFinding(probe: Probe, url: string): Finding {
  const { name, result, detail } = probe
  const { ok, no, fatal } = PROBE_TEXTS[name]
  if (result === 'yes') return { about: 'repository', result: 'ok', message: ok }
  const hint = probeHint(probe, url)
  return {
    about: 'repository',
    result: fatal ? 'failure' : 'warning',
    message: detail === undefined ? no : `${no} (${detail})`,
    ...(hint !== undefined && { hint }),
  }
}

/** A statement for the policy where that is what lacks; else what the storage itself has said. */
function probeHint({ name, result, detail = '', hint }: Probe, url: string): string | undefined {
  if (result === 'no' && name.startsWith('create-only'))
    return 'Let one server alone archive to this prefix: give each its own.'
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]+)\/?(.*?)\/*$/.exec(url) ?? []
  if (bucket === undefined || !/AccessDenied|HTTP 403$/.test(detail)) return hint
  const { action, isOfBucket } = ACTIONS[name]
  const objects = `${bucket}/${prefix === '' ? '' : `${prefix}/`}*`
  const resource = `arn:aws:s3:::${isOfBucket ? bucket : objects}`
  const statement = JSON.stringify({ Effect: 'Allow', Action: action, Resource: resource })
  const who = name === 'delete' ? 'the host that runs expire and gc' : 'these credentials'
  return `Add this to the policy of ${who}: ${statement}`
}
