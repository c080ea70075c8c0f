/** Pins: backups that are kept whatever retention says (`pins/<id>/<time>.json`; the newest counts). */
import type { Storage } from '../storage/storage.js'
import { createObject } from './create-object.js'
import { documentHead, formatDocument } from './document.js'
import { pinKey, pinsPrefix } from './layout.js'
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

/** Pins or unpins a backup. */
export async function writePin(storage: Storage, cluster: string, pin: Pin, signal?: AbortSignal): Promise<void> {
  const key = pinKey(cluster, pin.id, new Date(pin.time))
  await createObject(storage, key, formatDocument({ ...documentHead(), ...pin }), signal)
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
export function holdsAt({ pinned, until }: Pin, now: Date): boolean {
  if (!pinned) return false
  return until === null || !(Date.parse(until) <= now.getTime())
}
