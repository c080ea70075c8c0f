/**
 * Commit a backup that is complete but for its WAL, now that its WAL is in the archive (E6). Needs no server: what was
 * stored is compared with its index by name and size, the WAL is read and proven, and the record is written last (E9).
 */
import { hostname } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import type { Settings } from '../config/settings.js'
import { NotFoundError, reasonOf, reasonOfAbort, ToolError } from '../errors.js'
import { parseLsn } from '../postgres/lsn.js'
import { parseWalFileName, segmentNames } from '../postgres/wal-segment.js'
import { commitBackup, readBackupRecord, type BackupRecord } from '../repository/backup-record.js'
import { findCluster, listClusters } from '../repository/clusters.js'
import { listAll } from '../repository/create-object.js'
import { HeartbeatWriter, newestBeatTime } from '../repository/heartbeat.js'
import type { ClusterIdentity } from '../repository/identity.js'
import { basePrefix, FILES_INDEX, isBackupId, OBJECTS_INDEX, walKey } from '../repository/layout.js'
import { readObjectsIndex, type ObjectLine } from '../repository/objects-index.js'
import { requireNotRetired } from '../repository/retired.js'
import { readUnfinished, type UnfinishedBackup } from '../repository/unfinished.js'
import { verifiedContents } from '../repository/wal-contents.js'
import { openWalObject } from '../repository/wal-object-read.js'
import { requireWalRange } from '../repository/wal-range.js'
import type { Storage } from '../storage/storage.js'
import type { CommandContext } from './context.js'
import { openToWrite } from './open-repository.js'

/** Segments read at a time. */
const PARALLEL_READS = 4

/** Commits backup `id` and returns its record; one that is committed already is returned as it is. */
export async function finalize(settings: Settings, id: string, context: CommandContext): Promise<BackupRecord> {
  if (!isBackupId(id)) {
    throw new ToolError('usage', `wrong value ${JSON.stringify(id)} for --finalize: expected the id of a backup`)
  }
  const { signal, report } = context
  const { storage } = await openToWrite(settings, undefined, signal)
  try {
    const cluster = await clusterOf(storage, settings.cluster, id, signal)
    const there = await unlessMissing(() => readBackupRecord(storage, cluster.name, id, signal))
    if (there) {
      report({ type: 'step', message: `backup ${id} is committed already: nothing to do` })
      return there
    }
    return await finish(storage, cluster, await readUnfinished(storage, cluster.name, id, signal), context)
  } finally {
    storage.close()
  }
}

/** The cluster that has that backup, finished or not. */
async function clusterOf(
  storage: Storage,
  named: string | undefined,
  id: string,
  signal: AbortSignal,
): Promise<ClusterIdentity> {
  const wanted = named === undefined ? undefined : await findCluster(storage, named, signal)
  const isIn = async ({ name }: ClusterIdentity): Promise<boolean> =>
    (await unlessMissing(() => readUnfinished(storage, name, id, signal))) !== undefined ||
    (await unlessMissing(() => readBackupRecord(storage, name, id, signal))) !== undefined
  if (wanted && (await isIn(wanted))) return wanted
  for (const cluster of await listClusters(storage, signal)) {
    if (cluster.name === wanted?.name || !(await isIn(cluster))) continue
    if (!wanted) return cluster
    throw new ToolError('refused', `backup ${id} is one of cluster "${cluster.name}", not of "${wanted.name}"`)
  }
  throw new ToolError('usage', `there is no unfinished backup "${id}" in "${storage.url}"`, {
    hint: '"pgsluice list" shows those that can be finished.',
  })
}

async function finish(
  storage: Storage,
  cluster: ClusterIdentity,
  unfinished: UnfinishedBackup,
  context: CommandContext,
): Promise<BackupRecord> {
  const { record } = unfinished
  const { id, start } = record
  const { report } = context
  const failed = new AbortController()
  const signal = AbortSignal.any([context.signal, failed.signal])
  // retention on another host leaves alone what a backup with a fresh heartbeat needs (D6)
  const beat = { id, host: hostname(), startLsn: start.lsn, startSegment: start.segment }
  const after = await newestBeatTime(storage, cluster.name, id, signal)
  const heartbeat = new HeartbeatWriter(storage, cluster.name, beat, after)
  let state: 'committed' | 'unfinished' = 'unfinished'
  try {
    await heartbeat.start((error) => failed.abort(error))
    report({ type: 'step', message: `comparing the ${record.objects.count} objects of backup ${id} with their index` })
    await checkObjects(storage, record, signal)
    const segments = await checkWal(storage, cluster, unfinished, { report, signal })
    const used = { id, timeline: start.timeline, segments, walSegmentSize: record.walSegmentSize }
    await requireNotRetired(storage, cluster.name, used, signal)
    await commitBackup(storage, record, signal)
    state = 'committed'
    return record
  } catch (error) {
    throw reasonOfAbort(error, signal)
  } finally {
    await heartbeat.end(state).catch((error: unknown) => {
      report({ type: 'warning', message: `could not write the last heartbeat of backup ${id}: ${reasonOf(error)}` })
    })
  }
}

/** Every object of the index is there with its size: none was lost to a clean-up since. */
async function checkObjects(storage: Storage, record: BackupRecord, signal: AbortSignal): Promise<void> {
  const prefix = basePrefix(record.cluster, record.id)
  const lines = await readObjectsIndex(storage, prefix + OBJECTS_INDEX, record.objects.sha256, signal)
  const objects = lines.filter((line): line is ObjectLine => line.type === 'object')
  const stored = new Map((await listAll(storage, prefix, signal)).map(({ key, size }) => [key, size]))
  for (const { name, size } of objects) {
    const found = stored.get(prefix + name)
    if (found === size) continue
    const what = found === undefined ? 'is missing' : `has ${found} bytes instead of ${size}`
    throw new ToolError('damaged', `"${prefix}${name}", which the backup needs, ${what}`, {
      hint: 'This backup cannot be finished any more: take a new one.',
    })
  }
  const index = objects.find(({ name }) => name === FILES_INDEX)
  if (objects.length === record.objects.count && index?.sha256 === record.files.sha256) return
  throw new ToolError('damaged', `the index of backup ${record.id} does not fit its record`)
}

/** All WAL from start to stop is in the archive, whole, this cluster's, and the same that the server had (E5). Returns its names. */
async function checkWal(
  storage: Storage,
  cluster: ClusterIdentity,
  { record, wal }: UnfinishedBackup,
  { report, signal }: CommandContext,
): Promise<string[]> {
  const { start, stop, walSegmentSize } = record
  const { timeline } = start
  const segments = segmentNames(timeline, parseLsn(start.lsn), parseLsn(stop.lsn), walSegmentSize)
  if (!isDeepStrictEqual([segments[0], segments.at(-1), timeline], [start.segment, stop.segment, stop.timeline])) {
    throw new ToolError('damaged', `the record of backup ${record.id} names other WAL than its LSNs`)
  }
  await requireWalRange(storage, cluster.name, { timeline, segments, signal })
  report({ type: 'step', message: `reading ${segments.length} WAL segments, from ${start.segment} on` })
  const hashes = new Map(wal.map(({ name, sha256 }) => [name, sha256]))
  for (let at = 0; at < segments.length; at += PARALLEL_READS) {
    const batch = segments.slice(at, at + PARALLEL_READS)
    await Promise.all(batch.map((name) => checkSegment(storage, cluster, name, hashes.get(name), signal)))
  }
  return segments
}

async function checkSegment(
  storage: Storage,
  cluster: ClusterIdentity,
  name: string,
  sha256: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const file = parseWalFileName(name)
  if (file?.kind !== 'segment') throw new Error(`"${name}" is no WAL segment`)
  const object = await openWalObject(storage, walKey(cluster.name, file), signal)
  try {
    if (sha256 !== undefined && sha256 !== object.head.sha256) {
      throw new ToolError(
        'conflict',
        `the archive holds another server's "${name}": it differs from the one that was backed up`,
        { hint: 'Two servers archive to the same place: give each a repository of its own, and take a new backup.' },
      )
    }
    const pieces = verifiedContents(object, file, cluster)
    // nothing counts before the end: only there is the hash compared
    for (let next = await pieces.next(); next.done !== true;) next = await pieces.next()
  } finally {
    object.body.destroy()
  }
}

async function unlessMissing<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof NotFoundError) return undefined
    throw error
  }
}
