/**
 * The marker that lies in a target until its restore is done. It names the process that restores: one that lives is
 * never disturbed, and what one that is gone has left is known to be nobody's data.
 */
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'

/** Name of the marker. */
export const MARKER = 'pgsluice.restore-in-progress'

/** What the marker says. */
interface Restorer {
  host: string
  pid: number
  /** In clock ticks since the boot, where /proc tells it: another process may have been given the same id since. */
  startTicks: string | undefined
}

/** The text of the marker, or undefined where there is none. */
export async function readMarker(directory: string): Promise<string | undefined> {
  const path = join(directory, MARKER)
  return readFile(path, 'utf8').catch((cause: unknown) => {
    if (systemErrorCode(cause) === 'ENOENT') return undefined
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(cause)}`, { cause })
  })
}

/** Whether the process that wrote this marker still runs, as far as this host can tell. */
export async function isRunning(marker: string): Promise<boolean> {
  const restorer = parse(marker)
  if (restorer?.host !== hostname()) return false
  try {
    process.kill(restorer.pid, 0)
  } catch (error) {
    // EPERM: it is there, and somebody else's
    if (systemErrorCode(error) === 'ESRCH') return false
  }
  const now = await statusOfProcess(restorer.pid)
  if (now === undefined || now.startTicks === undefined) return true
  // a zombie was killed, and only waits for its parent
  return !/^[ZX]$/.test(now.state) && (restorer.startTicks ?? now.startTicks) === now.startTicks
}

/**
 * Creates the marker, in place of the abandoned one whose text is given. Throws ToolError `refused` where another
 * restore was faster, which keeps its marker.
 */
export async function claim(directory: string, abandoned: string | undefined): Promise<void> {
  const path = join(directory, MARKER)
  if (abandoned !== undefined) await takeAway(path, abandoned, directory)
  const status = await statusOfProcess(process.pid)
  const restorer: Restorer = { host: hostname(), pid: process.pid, startTicks: status?.startTicks }
  try {
    await writeFile(path, `${JSON.stringify(restorer)}\nA restore began here and has not ended.\n`, { flag: 'wx' })
  } catch (cause) {
    if (systemErrorCode(cause) === 'EEXIST') throw anotherRuns(directory)
    throw cause
  }
}

/** Takes the marker away. */
export async function removeMarker(directory: string): Promise<void> {
  await rm(join(directory, MARKER), { force: true })
}

export function anotherRuns(directory: string): ToolError {
  return new ToolError('refused', `another restore is running in "${directory}"`, {
    hint: 'Wait for its end, or restore into another directory.',
  })
}

/** Two restores may find the same abandoned one: a rename goes to one of them, who looks at what it has got. */
async function takeAway(path: string, abandoned: string, directory: string): Promise<void> {
  const away = `${path}.${randomBytes(8).toString('hex')}`
  try {
    await rename(path, away)
  } catch (cause) {
    if (systemErrorCode(cause) === 'ENOENT') throw anotherRuns(directory)
    throw cause
  }
  if ((await readFile(away, 'utf8')) !== abandoned) {
    await rename(away, path)
    throw anotherRuns(directory)
  }
  await rm(away)
}

function parse(marker: string): Restorer | undefined {
  try {
    const { host, pid, startTicks } = JSON.parse(marker.split('\n', 1)[0] ?? '') as Partial<Restorer>
    if (typeof host !== 'string' || typeof pid !== 'number' || pid <= 0) return undefined
    return { host, pid, startTicks }
  } catch {
    return undefined // cut off, or of an older version: whoever wrote it is not known to live
  }
}

/** State and start of a process; undefined where there is no /proc, or it is hidden. */
async function statusOfProcess(pid: number): Promise<{ state: string; startTicks: string | undefined } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // the name, in parentheses, may hold anything: fields are counted from its end, where the third one follows
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields && { state: fields[0] ?? '', startTicks: fields[19] }
}
