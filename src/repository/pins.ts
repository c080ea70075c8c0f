/** Pins: backups that are kept whatever retention says (`pins/<id>/<time>.json`; the newest counts). */
import { NotFoundError, ToolError } from '../errors.js'
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument, readDocument } from './document.js'
import { pinKey, pinsPrefix, timeOfKey } from './layout.js'
import { readNewest } from './newest-documents.js'

/** What a pin says. */
export interface Pin {
  id: string
  /** False: it was taken back. */
  pinned: boolean
  /** RFC 3339 in UTC; the pin holds until then, or for ever where it is null. */
  until: string | null
  /** RFC 3339 in UTC, when this was said. */
  time: string
}

/** Pins or unpins a backup. Rejects with ToolError `conflict` where another pin of that very time says something else. */
export async function writePin(storage: Storage, cluster: string, pin: Pin, signal?: AbortSignal): Promise<void> {
  const key = pinKey(cluster, pin.id, new Date(pin.time))
  await createObject(storage, key, formatDocument({ ...documentHead(), ...pin }), signal)
}

/**
 * Says anew whether a backup is pinned; resolves to what it says now, and whether that is a change. What was said before
 * and holds no more is no pin.
 *
 * The newest name counts, so the new one is later than every one there is: a host whose clock is behind would otherwise
 * say something that nobody hears. A document that is damaged is superseded like any other.
 */
export async function changePin(
  storage: Storage,
  cluster: string,
  wanted: Pick<Pin, 'id' | 'pinned' | 'until'>,
  now: Date,
  signal?: AbortSignal,
): Promise<{ pin: Pin; changed: boolean }> {
  const { id, pinned, until } = wanted
  let newest: string | undefined
  for await (const { key } of storage.list(`${pinsPrefix(cluster)}${id}/`, { signal })) {
    if (timeOfKey(key)) newest = key
  }
  const before = newest === undefined ? null : await readPin(storage, newest, signal)
  const isPinned = before !== null && before !== 'damaged' && holdsAt(before, now)
  if (before !== 'damaged' && isPinned === pinned && (!pinned || before?.until === until)) {
    return { pin: before ?? { id, pinned, until, time: now.toISOString() }, changed: false }
  }
  const last = newest === undefined ? 0 : (timeOfKey(newest)?.getTime() ?? 0)
  const pin = { id, pinned, until, time: new Date(Math.max(now.getTime(), last + 1)).toISOString() }
  await writePin(storage, cluster, pin, signal)
  return { pin, changed: true }
}

async function readPin(storage: Storage, key: string, signal?: AbortSignal): Promise<Pin | 'damaged' | null> {
  try {
    return (await readDocument(storage, key, signal)) as unknown as Pin
  } catch (error) {
    if (error instanceof NotFoundError) return null
    if (error instanceof ToolError && error.code === 'damaged') return 'damaged'
    throw error
  }
}

/** The pins that hold at `now`, by the id of their backup. */
export async function readPins(
  storage: Storage,
  cluster: string,
  now: Date,
  signal?: AbortSignal,
): Promise<Map<string, Pin>> {
  const pins = await readNewest<Pin>(storage, pinsPrefix(cluster), signal)
  return new Map([...pins].filter(([, pin]) => holdsAt(pin, now)))
}

/** Whether a pin keeps its backup at `now`. An end that cannot be read as a time never comes: keeping is the safe side. */
function holdsAt({ pinned, until }: Pin, now: Date): boolean {
  if (!pinned) return false
  return until === null || !(Date.parse(until) <= now.getTime())
}
