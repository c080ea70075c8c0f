/**
 * Configuration files that live outside PGDATA (W8): found, and stored with the place where they lay. They are no data, so
 * one that cannot be read is reported and the backup goes on.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { basename, relative } from 'node:path'
import { reasonOf } from '../errors.js'
import { includedFiles, isInclude, parseAccessIncludes, parseConfiguration } from '../postgres/configuration-file.js'
import type { ConfigFile } from '../postgres/session/cluster.js'
import { createObject, type CreatedObject } from '../repository/create-object.js'
import { formatMode } from '../repository/files-index.js'
import { CONFIG_FOLDER } from '../repository/layout.js'
import type { ObjectLine } from '../repository/objects-index.js'
import type { Storage } from '../storage/storage.js'
import type { FinishedBackup } from './finished-backup.js'
import type { CommandContext } from './context.js'

/** A stored configuration file, and what the index says of it. */
type StoredConfiguration = CreatedObject & Pick<ObjectLine, 'path' | 'mode' | 'setting'>

/** Stores all of them. */
export async function storeConfiguration(
  storage: Storage,
  prefix: string,
  backup: FinishedBackup,
  context: CommandContext,
): Promise<StoredConfiguration[]> {
  const created: StoredConfiguration[] = []
  const names = new Set<string>()
  for (const { path, setting } of await withIncluded(backup.configFiles)) {
    // a link in PGDATA that leads out of it is no file of the backup; a data directory reached by a link is still PGDATA
    const real = await realpath(path).catch(() => path)
    if (!relative(backup.source.dataDirectory, real).startsWith('..')) continue
    let name = basename(path)
    for (let n = 2; names.has(name); n++) name = `${n}-${basename(path)}`
    names.add(name)
    try {
      const body = await readFile(path)
      const mode = formatMode((await stat(path)).mode)
      const object = await createObject(storage, `${prefix}${CONFIG_FOLDER}${name}`, body, context.signal)
      created.push({ ...object, path, mode, ...(setting !== undefined && { setting }) })
    } catch (error) {
      if (!(error instanceof Error && 'syscall' in error)) throw error
      context.report({ type: 'warning', message: `"${path}" is not part of the backup: ${reasonOf(error)}` })
    }
  }
  return created
}

/**
 * The server names no file from which no setting of its own comes, such as one that is overridden, and none that an access
 * file includes; but it does not start without them. Each once, in the order in which they are met.
 */
async function withIncluded(configFiles: readonly ConfigFile[]): Promise<ConfigFile[]> {
  const found = new Map<string, ConfigFile>()
  const visit = async (file: ConfigFile, access: boolean): Promise<void> => {
    if (found.has(file.path)) return
    const text = await readFile(file.path, 'latin1').catch(() => undefined)
    // the server has read those that it names: that one cannot be read now is to be said
    if (text === undefined && !configFiles.includes(file)) return
    found.set(file.path, file)
    const lines = access ? parseAccessIncludes(text ?? '') : parseConfiguration(text ?? '').filter(isInclude)
    for (const line of lines) {
      for (const path of await includedFiles(file.path, line, HERE))
        await visit(configFiles.find((each) => each.path === path) ?? { path }, access)
    }
  }
  for (const file of configFiles) await visit(file, file.setting === 'hba_file' || file.setting === 'ident_file')
  return [...found.values()]
}

/** What cannot be listed is not followed. */
const HERE = {
  read: (): Promise<undefined> => Promise.resolve(undefined),
  list: (path: string): Promise<string[]> => readdir(path).catch(() => []),
}
