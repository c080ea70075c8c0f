/** The restore_command that a restored server gets: absolute, and independent of the server's PATH and directory (R12). */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Settings } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { quoteShell } from '../postgres/recovery-settings.js'

/**
 * Path of the shell front beside this program. Throws ToolError `usage` where the program lies in npx's cache, which npm
 * empties as it likes: a server that recovers months later would not find it.
 */
export function findFront(setting = 'restore_command'): string {
  const front = join(dirname(fileURLToPath(import.meta.url)), '..', 'pgsluice-wal')
  if (front.includes('/_npx/')) {
    throw new ToolError('usage', `${setting} would name "${front}", in the cache of npx, which npm may empty`, {
      hint: 'Install pgsluice on this host (npm install --global pgsluice) and run that.',
    })
  }
  if (!existsSync(front)) throw new ToolError('configuration', `the shell front "${front}" is missing`)
  return front
}

/**
 * `'…/pgsluice-wal' --node '…/node' fetch %f "%p" --repository … --cluster …`. Credentials are never part of it: the
 * server's environment or the profile has them.
 */
export function restoreCommand(front: string, settings: Settings, cluster: string): string {
  const options: [string, string | undefined][] = [
    ['--repository', settings.repository],
    ['--cluster', cluster],
    ['--endpoint', settings.endpoint],
    ['--region', settings.region],
    ['--profile', settings.profile],
    ['--path-style', settings.pathStyle === undefined ? undefined : String(settings.pathStyle)],
  ]
  const words = options.flatMap(([flag, value]) => (value === undefined ? [] : [flag, quoteShell(value)]))
  return [quoteShell(front), '--node', quoteShell(process.execPath), 'fetch', '%f', '"%p"', ...words].join(' ')
}
