/**
 * Segments that were fetched ahead, in pg_wal/pgsluice/fetched: the shell front renames them to where the server wants them.
 *
 * Each is written under a temporary name and gets its own when it is whole and verified (G7). Nothing is synced: `place` ends
 * in the server's process and start, so that after a crash of the machine all of it is foreign, and the server itself syncs
 * what it takes. Who makes the directory anew takes over from the process that had it, which notices and ends.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { mkdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemErrorCode, ToolError } from '../errors.js'

/** Relative to the data directory, in which PostgreSQL runs its commands. */
const DIRECTORY = 'pg_wal/pgsluice/fetched'
const PLACE = 'place'
const LOOK_MS = 20
/** Longer than a request that still gets an answer leaves a segment without a new byte. */
const QUIET_MS = 60_000

/** The spool of one process. */
export class FetchedSpool {
  readonly #text: string

  /**
   * Takes over for a process, and announces its first segment: the server may ask for it before the process has come up,
   * and then waits for it, rather than start another.
   */
  static async prepare(place: string, pid: number, first: string): Promise<void> {
    const spool = new FetchedSpool(place, pid)
    await spool.#make()
    await spool.announce(first)
  }

  /** The spool of this process: as it was prepared, or a new one. */
  static async open(place: string): Promise<FetchedSpool> {
    const spool = new FetchedSpool(place, process.pid)
    if (!(await spool.isOurs())) await spool.#make()
    return spool
  }

  private constructor(place: string, pid: number) {
    this.#text = `${place}\n${pid}\n`
  }

  async #make(): Promise<void> {
    await mkdir(dirname(DIRECTORY), { recursive: true, mode: 0o700 })
    for (;;) {
      await discard()
      try {
        await mkdir(DIRECTORY, { mode: 0o700 })
        break
      } catch (error) {
        // another one takes over at the same moment
        if (systemErrorCode(error) !== 'EEXIST') throw error
      }
    }
    const temporary = join(DIRECTORY, `.${PLACE}`)
    await writeFile(temporary, this.#text, { mode: 0o600 })
    await rename(temporary, join(DIRECTORY, PLACE))
  }

  /** Whether nobody has taken over. */
  async isOurs(): Promise<boolean> {
    return (await readPlace()) === this.#text
  }

  /** Bytes that the file system still takes. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(DIRECTORY)
    return bavail * bsize
  }

  /** Says that a segment will be there soon. */
  async announce(name: string): Promise<void> {
    await writeFile(join(DIRECTORY, `${name}.coming`), '')
  }

  /** Says that it will not. */
  async withdraw(name: string): Promise<void> {
    await rm(join(DIRECTORY, `${name}.coming`), { force: true })
  }

  /** Has `fetch` write an announced segment to the path that it is given, and then gives it its name. */
  async add(name: string, fetch: (path: string) => Promise<void>): Promise<void> {
    const unfinished = join(DIRECTORY, `${name}.unfinished`)
    try {
      await fetch(unfinished)
      await rename(unfinished, join(DIRECTORY, name))
    } finally {
      await this.withdraw(name)
      await rm(unfinished, { force: true })
    }
  }

  /** Whether a segment that was added is still there. */
  holds(name: string): boolean {
    return existsSync(join(DIRECTORY, name))
  }

  /** Removes everything, unless it is somebody else's by now. */
  async close(): Promise<void> {
    if (await this.isOurs()) await discard()
  }
}

/**
 * Delivers a segment out of the spool of that place, waiting `forMs` for one that is on its way as long as its process
 * lives, and not for longer than `quietMs` without a new byte of it: the process id may be another's by now, or that of a
 * process that has ended and that nobody waits for. False where there is none. Rejects with ToolError `storage` where it is
 * still on its way then: that process goes on, and to fetch it here, too, would take no less time.
 */
export async function takeFetched(
  place: string,
  name: string,
  path: string,
  { forMs, quietMs = QUIET_MS, signal }: { forMs: number; quietMs?: number; signal: AbortSignal },
): Promise<boolean> {
  const deadline = performance.now() + forMs
  let [size, grewAt] = [-1, performance.now()]
  const segment = join(DIRECTORY, name)
  for (;;) {
    const [noted, pid] = (await readPlace())?.split('\n') ?? []
    if (noted !== place) return false
    const isComing = existsSync(`${segment}.coming`)
    try {
      await rename(segment, path)
      return true
    } catch (error) {
      // what keeps it from being put there keeps every file from it, and is told by the one that is fetched instead
      if (systemErrorCode(error) !== 'ENOENT') return false
    }
    if (!isComing || !isAlive(Number(pid))) return false
    const now = statSync(`${segment}.unfinished`, { throwIfNoEntry: false })?.size ?? -1
    if (now !== size) [size, grewAt] = [now, performance.now()]
    if (performance.now() - grewAt >= quietMs) return false
    if (performance.now() >= deadline)
      throw new ToolError('storage', `"${name}" is being fetched, and the store has not sent all of it yet`)
    await sleep(LOOK_MS, undefined, { signal })
  }
}

async function readPlace(): Promise<string | undefined> {
  return readFile(join(DIRECTORY, PLACE), 'utf8').catch((error: unknown) => {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  })
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch (error) {
    return systemErrorCode(error) === 'EPERM'
  }
}

/** Out of the way in one step, so that nobody sees half of it. */
async function discard(): Promise<void> {
  const old = `${DIRECTORY}.${randomBytes(4).toString('hex')}.old`
  try {
    await rename(DIRECTORY, old)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return
    throw error
  }
  await rm(old, { recursive: true, force: true })
}
