/**
 * What an isolated copy may preload: all that its source did, since a library may be needed to replay WAL or to read
 * tables, except what acts by itself. The source's jobs would run a second time.
 */
import { join } from 'node:path'
import { readConfiguration, type ConfigurationFiles } from '../postgres/configuration-file.js'
import { HOST_FILES } from './configuration-files.js'
import type { CommandContext } from './context.js'

/** Libraries that begin to work by themselves as soon as the server is up, and what they would do. */
const ACTING_LIBRARIES: Readonly<Record<string, string>> = {
  pg_cron: 'runs the jobs of cron.job',
  pg_partman_bgw: 'makes and drops partitions',
  pg_squeeze: 'rewrites tables by schedule',
  pglogical: 'subscribes to other servers',
  bdr: 'joins its replication group',
  spock: 'subscribes to other servers',
  pgactive: 'joins its replication group',
  pg_failover_slots: 'moves replication slots between primary and standby',
  repmgr: 'takes part in failover',
  pgautofailover: 'takes part in failover',
  pg_net: 'sends the HTTP requests that are queued',
  pg_later: 'runs queued queries',
  vectorize: 'sends queued work to other servers',
  worker_spi: 'is an example that writes a table',
}

const NAME = 'shared_preload_libraries'

/**
 * The libraries of the copy in `directory`, whose postgresql.auto.conf holds `autoConf` (bytes as latin1), and whose main
 * configuration file is `external` where it is restored too.
 */
export async function isolation(
  directory: string,
  autoConf: string,
  external: { main: string; files: ConfigurationFiles } | undefined,
  { report }: CommandContext,
): Promise<{ sharedPreloadLibraries: string }> {
  const main = external?.main ?? join(directory, 'postgresql.conf')
  const files = external?.files ?? HOST_FILES
  const settings = new Map<string, string>()
  const text = await files.read(main)
  if (text === undefined) {
    report({
      type: 'warning',
      message: `"${main}" does not exist: which libraries the external configuration preloads is not known, and none will be`,
      hint: 'If the server then does not start for want of one, name it in postgresql.auto.conf.',
    })
  } else {
    for (const [name, value] of await readConfiguration(main, text, files)) settings.set(name, value)
  }
  for (const [name, value] of await readConfiguration(join(directory, 'postgresql.auto.conf'), autoConf, files))
    settings.set(name, value)
  const libraries = (settings.get(NAME) ?? '').split(',').map((word) => word.trim())
  const kept: string[] = []
  for (const library of libraries) {
    if (library === '') continue
    const plain = /([^/]+?)(\.so|\.dylib)?$/.exec(library.replaceAll('"', ''))?.[1] ?? library
    const acts = ACTING_LIBRARIES[plain]
    if (acts === undefined) kept.push(library)
    else report({ type: 'step', message: `${plain} will not be loaded: it ${acts}` })
  }
  return { sharedPreloadLibraries: kept.join(', ') }
}
