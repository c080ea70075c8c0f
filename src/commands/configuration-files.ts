/** How configuration files of this host are got at: what is not there is no error, what cannot be read is one. */
import { readdir, readFile } from 'node:fs/promises'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import type { ConfigurationFiles } from '../postgres/configuration-file.js'

/** Texts as latin1: what is not ours stays as it is, whatever its encoding. */
export const HOST_FILES: ConfigurationFiles = {
  read: (path) => readFile(path, 'latin1').catch(absence(path, undefined)),
  list: (path) => readdir(path).catch(absence(path, [])),
}

function absence<T>(path: string, value: T): (cause: unknown) => T {
  return (cause) => {
    if (systemErrorCode(cause) === 'ENOENT') return value
    throw new ToolError('file-system', `could not read "${path}": ${reasonOf(cause)}`, { cause })
  }
}
