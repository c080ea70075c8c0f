/**
 * The store's own clock. Ages of objects are measured by it and never by ours (format rule 10): a host whose clock is
 * wrong must not take a running backup for one that died yesterday.
 */
import type { Storage } from './storage.js'

/** What a storage with a clock of its own does in addition to {@link Storage}. */
export interface ClockHolder {
  now(options?: { signal?: AbortSignal | undefined }): Promise<Date>
}

/** The time by the store's clock. A directory has that of this host. */
export async function storeNow(storage: Storage, signal?: AbortSignal): Promise<Date> {
  return isClockHolder(storage) ? storage.now({ signal }) : new Date()
}

function isClockHolder(storage: object): storage is Storage & ClockHolder {
  return 'now' in storage
}
