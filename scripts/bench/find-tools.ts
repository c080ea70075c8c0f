/** Finds the tools that are on this machine, and says why others are not measured. */
import { accessSync, constants, existsSync } from 'node:fs'
import path from 'node:path'
import { reasonOf } from '#src/errors.js'
import { findOracles } from '../../test/support/oracles.js'
import { runAsServerUser } from '../../test/support/server-user.js'
import { barman } from './tool-barman.js'
import { newestMajorOf, pgbackrest } from './tool-pgbackrest.js'
import { pgBasebackup, tarPipe } from './tool-plain.js'
import { pgsluice } from './tool-pgsluice.js'
import { walG } from './tool-wal-g.js'
import type { BenchOptions } from './options.js'
import type { Tool } from './tool.js'
import type { ClientPrograms } from './tool-plain.js'

/** What is there, in the order of the table, and what is not. */
export interface FoundTools {
  tools: Tool[]
  absent: { tool: string; reason: string }[]
  /** The path of pgbench, which the phase "friendly" needs. */
  pgbench: string | undefined
}

/** The memory of the second pgsluice, the small one. */
const SMALL_MEMORY = '128MiB'
/** Looks for all of them. Rejects when one that was named does not run. */
export async function findTools(options: BenchOptions, pgsluiceVersion: string): Promise<FoundTools> {
  const others: Tool[] = []
  const absent: FoundTools['absent'] = []
  const look = async (
    name: string,
    { named, found }: { named?: string | undefined; found: string | undefined },
    make: (program: string, version: string) => Tool | string,
  ): Promise<void> => {
    const program = named ?? found
    if (program === undefined) {
      absent.push({ tool: name, reason: 'it is not installed here' })
      return
    }
    try {
      const tool = make(program, await versionOf(program, name === 'pgBackRest' ? 'version' : '--version'))
      if (typeof tool === 'string') absent.push({ tool: name, reason: tool })
      else others.push(tool)
    } catch (error) {
      if (named !== undefined) throw error
      absent.push({ tool: name, reason: reasonOf(error) })
    }
  }
  const { major } = options
  await look('pgBackRest', { named: options.pgbackrest, found: onPath('pgbackrest') }, (program, version) =>
    newestMajorOf(version) < major ? `${version} does not know PostgreSQL ${major}` : pgbackrest({ program, version }),
  )
  await look('WAL-G', { named: options.walG, found: onPath('wal-g') }, (program, version) => walG({ program, version }))
  const barmanBackup = options.barman === undefined ? undefined : path.join(options.barman, 'barman-cloud-backup')
  await look('barman-cloud', { named: barmanBackup, found: onPath('barman-cloud-backup') }, (program, version) =>
    barman({ directory: path.dirname(program), version }),
  )
  const programs = clientPrograms(major)
  const aws = programs && { named: options.aws, found: onPath('aws') }
  await look('tar | zstd | aws s3 cp', aws ?? { found: undefined }, (program, version) =>
    programs === undefined ? 'psql is not installed here' : tarPipe({ aws: program, version, programs, major }),
  )
  await look('pg_basebackup', { found: programs?.pgBasebackup }, (_program, version) => {
    if (programs === undefined) return 'it is not installed here'
    return major < 15 ? 'it compresses with zstd from 15 on' : pgBasebackup({ version, programs })
  })
  const ours = [
    pgsluice({ version: pgsluiceVersion, transport: 'http' }),
    pgsluice({ version: pgsluiceVersion, transport: 'http', memory: SMALL_MEMORY }),
    ...(others.some(({ transport }) => transport === 'https')
      ? [pgsluice({ version: pgsluiceVersion, transport: 'https' })]
      : []),
  ]
  const tools = [...ours, ...others]
  const { tools: wanted } = options
  const pgbench = options.phases.has('friendly') ? await findPgbench(major) : undefined
  if (pgbench !== undefined && 'reason' in pgbench) absent.push({ tool: 'latency during a backup', ...pgbench })
  return {
    tools: wanted === undefined ? tools : tools.filter(({ name }) => wanted.some((one) => name.startsWith(one))),
    absent,
    pgbench: pgbench !== undefined && 'program' in pgbench ? pgbench.program : undefined,
  }
}

/** The programs of the same major: Debian's, or those of the tests, whose pg_basebackup may be built without zstd. */
function clientPrograms(major: number): ClientPrograms | undefined {
  const inDirectory = (name: string): string => `/usr/lib/postgresql/${major}/bin/${name}`
  const [psql, pgBasebackup] = [inDirectory('psql'), inDirectory('pg_basebackup')]
  if (existsSync(psql) && existsSync(pgBasebackup)) return { psql, pgBasebackup, libraries: undefined }
  const oracles = findOracles(major)
  if (oracles === undefined) return undefined
  const libraries = path.join(path.dirname(oracles.program('psql')), '../lib')
  return { psql: oracles.program('psql'), pgBasebackup: oracles.program('pg_basebackup'), libraries }
}

/** That of the same major, as for the other programs, or that of PATH. */
async function findPgbench(major: number): Promise<{ program: string } | { reason: string }> {
  const ofMajor = [findOracles(major)?.program('pgbench'), `/usr/lib/postgresql/${major}/bin/pgbench`]
  const program = ofMajor.find((file) => file !== undefined && existsSync(file)) ?? onPath('pgbench')
  if (program === undefined) return { reason: `there is no pgbench of PostgreSQL ${major}, and none on the PATH` }
  try {
    await versionOf(program, '--version')
    return { program }
  } catch (error) {
    return { reason: reasonOf(error) }
  }
}

/** The first program of that name that the servers' user may run, since the tools run as that user. */
export function onPath(name: string): string | undefined {
  return (process.env['PATH'] ?? '')
    .split(path.delimiter)
    .map((directory) => path.join(directory, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

async function versionOf(program: string, argument: string): Promise<string> {
  const libraries = path.join(path.dirname(program), '../lib')
  const env = { LD_LIBRARY_PATH: libraries }
  const { exitCode, stdout, stderr } = await runAsServerUser(program, [argument], { env }).catch((error: unknown) => ({
    exitCode: 126,
    stdout: '',
    stderr: String(error),
  }))
  const version = /v?\d+\.\d+(\.\d+)?/.exec(`${stdout}${stderr}`)?.[0]
  if (exitCode === 0 && version !== undefined) return version.replace('v', '')
  throw new Error(`"${program}" does not run as the user of the servers: ${stderr.trim()}`)
}
