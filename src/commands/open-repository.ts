/** Opens the repository as the settings say, and as its store was found able to be written. */
import { ToolError } from '../errors.js'
import type { Resources } from '../config/resources.js'
import type { Settings } from '../config/settings.js'
import { readProfile, storeOf, writeProfile } from '../repository/profile.js'
import { inspectStorage, type Probe, type StorageInspection } from '../storage/inspect.js'
import { openStorage } from '../storage/open-storage.js'
import type { StorageOptions } from '../storage/storage-options.js'
import type { SharedRate } from '../streams/rate-limit.js'
import type { Storage } from '../storage/storage.js'

/** An open repository. */
export interface OpenRepository {
  storage: Storage
  /** To open the same storage in another thread. */
  options: StorageOptions
}

/** The storage options that the settings make. Throws ToolError `usage` where no repository is named. */
export function storageOptions(settings: Settings, resources?: Resources, rate?: SharedRate): StorageOptions {
  if (settings.repository === undefined) {
    throw new ToolError('usage', 'no repository is named', {
      hint: 'Give --repository s3://bucket/prefix, or set PGSLUICE_REPOSITORY.',
    })
  }
  return {
    url: settings.repository,
    endpoint: settings.endpoint,
    region: settings.region,
    profile: settings.profile,
    pathStyle: settings.pathStyle,
    requestTimeoutMs: settings.requestTimeoutMs,
    maxAttempts: settings.maxAttempts,
    partSizeBytes: resources?.partSizeBytes,
    partsInFlight: resources?.partsInFlight,
    rate,
  }
}

/** Opens the repository to read from it: nothing of how it is written matters. */
export async function openToRead(settings: Settings, rate?: SharedRate): Promise<OpenRepository> {
  const options = storageOptions(settings, undefined, rate)
  return { storage: await openStorage(options), options }
}

/**
 * Opens the repository to write to it. The newest profile says what the store can do; a store that was never probed is
 * probed now, once, and the finding is kept (O6).
 */
export async function openToWrite(
  settings: Settings,
  resources?: Resources,
  signal?: AbortSignal,
  rate?: SharedRate,
): Promise<OpenRepository> {
  const options = storageOptions(settings, resources, rate)
  const storage = await openStorage(options)
  try {
    let abilities = await readProfile(storage, storeOf(options), signal)
    if (!abilities) {
      const inspection = await inspectStorage(storage, { signal })
      const failed = inspection.probes.find(({ name, result }) => name === 'write' && result !== 'yes')
      if (failed)
        throw new ToolError('storage', `could not write to "${storage.url}": ${failed.detail ?? 'no reason given'}`)
      // an outage during the probe must not make this very write one that can replace (A3)
      const unknown = inspection.probes.find((probe) => probe.name.startsWith('create-only') && isUncertain(probe))
      if (unknown) {
        throw new ToolError(
          'storage',
          `could not find out whether "${storage.url}" can write without replacing: ${unknown.detail ?? 'no reason given'}`,
          { hint: 'This is tried again at the next run.' },
        )
      }
      abilities = inspection.abilities
      await keepProfile(options, inspection, signal)
    }
    if (abilities.createOnlyPut && abilities.createOnlyMultipart && abilities.checksumHeaders)
      return { storage, options: { ...options, distanceMs: storage.distanceMs } }
    storage.close()
    const known = { ...options, abilities, distanceMs: storage.distanceMs }
    return { storage: await openStorage(known), options: known }
  } catch (error) {
    storage.close()
    throw error
  }
}

/**
 * Keeps what a probe has found for all later runs, written in the way that the probe found possible. Not where the store
 * refused a probe: that may have been an outage, and must not weaken every write from then on.
 */
export async function keepProfile(
  options: StorageOptions,
  { probes, abilities }: Pick<StorageInspection, 'probes' | 'abilities'>,
  signal?: AbortSignal,
): Promise<void> {
  if (probes.some((probe) => probe.name !== 'delete' && isUncertain(probe))) return
  const storage = await openStorage({ ...options, abilities })
  try {
    await writeProfile(storage, abilities, new Date(), { store: storeOf(options), signal })
  } finally {
    storage.close()
  }
}

/** Whether a probe failed for a reason that may pass: a request that the store calls wrong will be wrong the next time, too. */
function isUncertain({ result, detail = '' }: Probe): boolean {
  return result === 'failed' && !/\bHTTP (400|405|501), (?!RequestTimeout)/.test(detail)
}
