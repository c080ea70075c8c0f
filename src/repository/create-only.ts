/** What creates an object that is made while it is sent: nobody has all of it to compare what may be there already. */
import type { Readable } from 'node:stream'
import { ExistsError, ToolError } from '../errors.js'
import { hasContent } from '../storage/has-content.js'
import type { PartSource, PutOptions, Storage } from '../storage/storage.js'
import type { CreatedObject } from './create-object.js'

/**
 * Stores `body` under `key` where nothing is. `made` tells what it was, once it was read to its end. What exists with that
 * content is our own write, retried; rejects with ToolError `conflict` where it has another.
 */
export async function createOnly(
  storage: Storage,
  key: string,
  body: Readable | PartSource,
  made: () => Omit<CreatedObject, 'key'>,
  options: Omit<PutOptions, 'ifAbsent'>,
): Promise<CreatedObject> {
  let echo: ExistsError | undefined
  try {
    await storage.put(key, body, { ...options, ifAbsent: true })
  } catch (error) {
    if (!(error instanceof ExistsError)) throw error
    echo = error
  }
  const object = { key, ...made() }
  if (echo && !(await hasContent(storage, object, options.signal))) {
    throw new ToolError('conflict', `"${key}" exists already with other content`, { cause: echo })
  }
  return object
}
