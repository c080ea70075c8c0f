/** Which cluster a data directory holds, read from it alone: the WAL commands run without a database. */
import { readFile, stat } from 'node:fs/promises'
import { reasonOf, systemErrorCode, ToolError } from '../errors.js'
import { readControlFile } from '../postgres/control-file.js'
import type { ClusterFacts } from '../repository/identity.js'

/** A cluster, as its data directory says it. */
export interface LocalCluster extends ClusterFacts {
  directory: string
  /** Of the last checkpoint. */
  checkpointTimeline: number
}

/** Facts of the cluster in `pgdata`. Throws ToolError `usage` where it is no data directory. */
export async function localCluster(pgdata: string): Promise<LocalCluster> {
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
  const { systemIdentifier, walSegmentSize, checkpointTimeline } = control
  return { directory: pgdata, major, systemIdentifier, walSegmentSize, checkpointTimeline }
}

/**
 * The first of these that is a data directory. Where PostgreSQL runs us goes before what the settings say: PGDATA in the
 * environment may be that of another cluster, or relative to where pg_ctl was called.
 */
export async function localDirectory(candidates: readonly string[]): Promise<string | undefined> {
  for (const candidate of candidates) if (await isDataDirectory(candidate)) return candidate
  return undefined
}

async function isDataDirectory(path: string): Promise<boolean> {
  for (const name of ['PG_VERSION', 'global/pg_control']) {
    try {
      await stat(`${path}/${name}`)
    } catch (error) {
      // any other error than that must not make another cluster of this one
      if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemErrorCode(error) ?? '')) return false
    }
  }
  return true
}
