/** Which cluster a data directory holds, read from it alone: the WAL commands run without a database. */
import { readFile } from 'node:fs/promises'
import { reasonOf, ToolError } from '../errors.js'
import { readControlFile } from '../postgres/control-file.js'
import type { ClusterFacts } from '../repository/identity.js'

/** Facts of the cluster in `pgdata`. Throws ToolError `usage` where it is no data directory. */
export async function localCluster(pgdata: string): Promise<ClusterFacts> {
  let version: string
  try {
    version = await readFile(`${pgdata}/PG_VERSION`, 'utf8')
  } catch (cause) {
    throw new ToolError('usage', `"${pgdata}" is no data directory: ${reasonOf(cause)}`, {
      cause,
      hint: 'PostgreSQL runs the WAL commands in its data directory; elsewhere name it with --pgdata.',
    })
  }
  const major = Number(version.trim())
  if (!Number.isInteger(major))
    throw new ToolError('usage', `"${pgdata}" holds PostgreSQL ${version.trim()}, which is not supported`)
  const { control } = await readControlFile(pgdata)
  return { major, systemIdentifier: control.systemIdentifier, walSegmentSize: control.walSegmentSize }
}
