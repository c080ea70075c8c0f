/**
 * Fresh data directories at the price of a copy: initdb runs once for each major and set of arguments, its result is
 * kept in the temporary directory and copied for each cluster.
 *
 * Copies of one template have the same system identifier. A test that needs two different clusters asks for one that
 * initdb made for itself.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { postgresBinaries } from './postgres-binaries.js'
import { baseDirectory, giveToServerUser, runAsServerUser } from './server-user.js'

/** What decides the content of a fresh data directory. */
export interface TemplateOptions {
  major: number
  initdbArgs: readonly string[]
  walSegmentSizeMb: number | undefined
  superuser: string
}

/** Makes `pgdata`, a fresh data directory owned by the server's user; its parent must exist and be that user's. */
export async function createDataDirectory(pgdata: string, options: TemplateOptions, ownInitdb: boolean): Promise<void> {
  if (ownInitdb) {
    await initdb(pgdata, options)
    return
  }
  const copy = await runAsServerUser('cp', ['-Rp', await template(options), pgdata])
  if (copy.exitCode !== 0) throw new Error(`could not copy the template to "${pgdata}": ${copy.stderr}`)
}

const building = new Map<string, Promise<string>>()

async function template(options: TemplateOptions): Promise<string> {
  const identity = JSON.stringify([postgresBinaries(options.major).version, options])
  const key = `template-${options.major}-${createHash('sha256').update(identity).digest('hex').slice(0, 12)}`
  const directory = path.join(baseDirectory(), key)
  if (existsSync(directory)) return directory
  const pending = building.get(key) ?? buildTemplate(directory, options)
  building.set(key, pending)
  return await pending
}

/** Builds under a temporary name and renames: two test runs at once both succeed, and nobody sees half a template. */
async function buildTemplate(directory: string, options: TemplateOptions): Promise<string> {
  const temporary = mkdtempSync(path.join(baseDirectory(), `building-${process.pid}-`))
  try {
    await giveToServerUser(temporary)
    const made = path.join(temporary, 'data')
    await initdb(made, options)
    try {
      renameSync(made, directory)
    } catch (error) {
      if (!existsSync(directory)) throw error
    }
    return directory
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

async function initdb(pgdata: string, options: TemplateOptions): Promise<void> {
  // Before 18 checksums are off by default and the switch that turns them off is unknown.
  const asked = options.initdbArgs.filter((arg) => arg !== '--no-data-checksums' || options.major >= 18)
  const args = ['-D', pgdata, '-U', options.superuser, '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync']
  if (options.walSegmentSizeMb !== undefined) args.push(`--wal-segsize=${options.walSegmentSizeMb}`)
  const result = await runAsServerUser(postgresBinaries(options.major).initdb, [...args, ...asked])
  if (result.exitCode !== 0) throw new Error(`initdb failed: ${result.stderr}${result.stdout}`)
}
