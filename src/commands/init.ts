/** Write a configuration file, and say what the server needs: the lines of postgresql.conf, and the grants of the role. */
import { readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { configTemplate, type ChosenValues } from '../config/config-template.js'
import { SYSTEM_FILE } from '../config/default-files.js'
import { hideSecrets } from '../config/secrets.js'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { quoteShell } from '../postgres/recovery-settings.js'
import { backupGrants, type GrantSet } from '../postgres/session/grants.js'
import { writeFileDurably } from '../streams/write-file-durably.js'
import { findFront } from './restore-command.js'

/** What to write, and where. */
export interface InitOptions {
  values: ChosenValues
  /** Path of the new file. */
  output: string
  /** The role that takes backups. */
  role: string
  /** Major version of the server; without it PG_VERSION in the data directory is asked. */
  major?: number | undefined
}

/** What was written, and what remains to be done. */
export interface InitResult {
  /** Absolute. */
  file: string
  archiveCommand: string
  grants: GrantSet[]
}

/** Throws ToolError `usage` for what does not belong into a configuration file, or where it cannot be made. */
export async function checkInit({ values, output }: Pick<InitOptions, 'values' | 'output'>): Promise<void> {
  for (const name of ['dbname', 'endpoint'] as const) {
    const value = values[name]
    if (value === undefined || hideSecrets(value) === value) continue
    throw new ToolError('usage', `a password in "${name}" would be written to the configuration file`, {
      hint: 'Put it into ~/.pgpass or ~/.aws/credentials, and leave it out here.',
    })
  }
  const directory = dirname(resolve(output))
  const isDirectory = await stat(directory).then(
    (found) => found.isDirectory(),
    () => false,
  )
  if (!isDirectory)
    throw new ToolError('usage', `the directory "${directory}" of the configuration file does not exist`)
  if (await stat(output).catch(() => undefined)) throw existsAlready(output)
}

/** Writes the file, which must not be there yet. Nothing is left of it where that fails or is interrupted. */
export async function init(options: InitOptions, signal: AbortSignal): Promise<InitResult> {
  await checkInit(options)
  const { values, role } = options
  const file = resolve(options.output)
  const front = findFront('archive_command')
  const major = options.major ?? (await majorOf(values.pgdata))
  const schema = fileURLToPath(new URL('../../docs/schemas/pgsluice-yaml.schema.json', import.meta.url))
  try {
    // for the server's user and its group: it holds no secret, and nobody else needs it
    const text = Buffer.from(configTemplate(values, schema))
    await writeFileDurably(file, text, { mode: 0o640, ifAbsent: true, signal })
  } catch (cause) {
    if (systemErrorCode(cause) === 'EEXIST') throw existsAlready(file)
    if (signal.aborted) throw cause
    throw new ToolError('file-system', `could not write "${file}": ${reasonOf(cause)}`, { cause })
  }
  return { file, archiveCommand: archiveCommand(front, file), grants: backupGrants(role, major) }
}

function existsAlready(file: string): ToolError {
  return new ToolError('refused', `"${file}" exists already`, {
    hint: 'Edit it, or name another file with --output.',
  })
}

/** The server runs it in its data directory, and with a PATH of its own: so every path is absolute. */
function archiveCommand(front: string, file: string): string {
  const config = file === SYSTEM_FILE ? [] : ['--config', quoteShell(file)]
  return [quoteShell(front), '--node', quoteShell(process.execPath), 'push', '"%p"', ...config].join(' ')
}

async function majorOf(pgdata: string | undefined): Promise<number | undefined> {
  if (pgdata === undefined) return undefined
  // not every user may read it, and the answer is a convenience
  const text = await readFile(join(pgdata, 'PG_VERSION'), 'latin1').catch(() => '')
  return /^\d+$/.test(text.trim()) ? Number(text) : undefined
}
