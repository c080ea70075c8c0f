/** Whether what a restore writes fits: for each file system that it writes to, not for the data directory's alone (R2). */
import { stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

interface FileSystem {
  /** Where it is: the first of the places on it, or what there is of its path. */
  place: string
  bytes: number
}

/** Throws ToolError `file-system` where one has too little space. `bytes` says what goes to each place. */
export async function checkSpace(bytes: ReadonlyMap<string, number>): Promise<void> {
  const systems = new Map<number, FileSystem>()
  for (const [directory, needed] of bytes) {
    const { place, device } = await nearestExisting(directory)
    const system = systems.get(device) ?? { place, bytes: 0 }
    system.bytes += needed
    systems.set(device, system)
  }
  for (const { place, bytes: needed } of systems.values()) {
    const space = await statfs(place).catch((error: unknown) => fail(place, error))
    const free = space.bavail * space.bsize
    if (free < needed)
      throw new ToolError('file-system', `"${place}" has ${free} bytes free, and the backup needs ${needed} there`)
  }
}

async function nearestExisting(directory: string): Promise<{ place: string; device: number }> {
  for (let place = directory; ; place = dirname(place)) {
    const status = await stat(place).catch((error: unknown) => {
      if (systemErrorCode(error) === 'ENOENT' && place !== '/') return undefined
      return fail(place, error)
    })
    if (status) return { place, device: status.dev }
  }
}

function fail(place: string, cause: unknown): never {
  throw new ToolError('file-system', `could not look at "${place}": ${reasonOf(cause)}`, { cause })
}
