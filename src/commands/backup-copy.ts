/** The copy: plan archives, have them packed, pg_control last of all. */
import { stat } from 'node:fs/promises'
import { parseRelationFileName } from '../postgres/exclusions.js'
import { archiveTargetBytes, EMPTY_TAR_BYTES, memberBytes, objectBound, planArchives } from '../archive/archive-plan.js'
import type { PackJob, PackResult } from '../archive/jobs.js'
import type { PackMember } from '../archive/pack-member.js'
import type { Settings } from '../config/settings.js'
import { readControlFile } from '../postgres/control-file.js'
import { archiveKey } from '../repository/layout.js'
import type { WorkerPool } from '../workers/pool.js'
import { PG_CONTROL, type Inventory } from './backup-inventory.js'
import type { BackupSource } from './backup-source.js'
import type { CommandContext } from './context.js'
import { reportProgress } from './progress.js'

/** What the copy gave. */
export interface Copied {
  archives: { name: string; size: number; sha256: string; members: number }[]
  pageErrors: PackResult['pageErrors']
  remarks: PackResult['remarks']
  vanished: Buffer[]
  storedBytes: number
  /** Rows of the files in the order they lie in the archives, archive by archive; those that vanished among them. */
  order: Uint32Array[]
}

/** Packs everything, then pg_control in an archive of its own (W12, E7, F16). */
export async function copyCluster(
  source: BackupSource,
  inventory: Inventory,
  where: { cluster: string; id: string; smallReads: boolean; isFar: boolean },
  settings: Settings,
  pool: WorkerPool,
  jobs: number,
  context: CommandContext,
): Promise<Copied> {
  const { files } = inventory
  const targetBytes = archiveTargetBytes(inventory.totalBytes, jobs, { isFar: where.isFar })
  const plans = planArchives(files, { targetBytes })
  if (plans.length === 0) plans.push({ rows: new Uint32Array(), tarBytes: EMPTY_TAR_BYTES })
  context.report({
    type: 'backup-planned',
    files: files.length + 1,
    bytes: inventory.totalBytes,
    archives: plans.length + 1,
  })
  const copied: Copied = {
    archives: [],
    pageErrors: [],
    remarks: [],
    vanished: [],
    storedBytes: 0,
    order: plans.map(({ rows }) => rows),
  }
  const common = {
    kind: 'pack' as const,
    dataDirectory: Buffer.from(source.dataDirectory).toString('latin1'),
    checksumAlgorithm: settings.checksum,
    compressionLevel: settings.compressionLevel,
    smallReads: where.smallReads,
    pages: source.server.dataChecksums
      ? { blockSize: source.server.blockSize, segmentBlocks: source.server.blocksPerSegment }
      : undefined,
  }
  const key = (archive: number): string => archiveKey(where.cluster, where.id, archive)
  function* packJobs(): Generator<PackJob> {
    for (const [archive, plan] of plans.entries()) {
      const directories = archive === 0 ? directoryMembers(inventory) : []
      yield {
        ...common,
        archive,
        key: key(archive),
        members: directories,
        files: files.columns(plan.rows),
        objectBound: objectBound(
          plan.tarBytes + directories.reduce((sum, { path }) => sum + memberBytes(path.length, 0), 0),
          plan.rows.length + directories.length,
        ),
      }
    }
  }
  const { totalBytes } = inventory
  const stopTelling = reportProgress('backup', () => ({ doneBytes: pool.doneBytes, totalBytes }), context.report)
  try {
    for await (const result of pool.run(packJobs(), context.signal)) {
      if (result.kind === 'packed') take(copied, result, inventory, context)
    }
  } finally {
    stopTelling()
  }
  // every other file of every archive has been read by now
  const { bytes } = await readControlFile(source.dataDirectory)
  const archive = plans.length
  const entry = { ...(await controlEntry(source)), size: bytes.length }
  const index = files.add({ ...entry, path: Buffer.from(PG_CONTROL) })
  copied.order.push(Uint32Array.of(index))
  inventory.totalBytes += bytes.length
  const job: PackJob = {
    ...common,
    archive,
    key: key(archive),
    members: [{ ...entry, index, type: 'file', path: PG_CONTROL, body: bytes }],
    objectBound: objectBound(memberBytes(PG_CONTROL.length, bytes.length) + EMPTY_TAR_BYTES, 1),
  }
  for await (const result of pool.run([job], context.signal)) {
    if (result.kind === 'packed') take(copied, result, inventory, context)
  }
  return copied
}

function take(copied: Copied, result: PackResult, inventory: Inventory, context: CommandContext): void {
  const { files } = inventory
  inventory.totalBytes += files.setPacked(result.files)
  for (const row of result.vanished) {
    files.setVanished(row)
    copied.vanished.push(files.walked(row).path)
  }
  copied.archives[result.archive] = {
    name: result.key.slice(result.key.lastIndexOf('/') + 1),
    size: result.storedBytes,
    sha256: result.sha256,
    members: result.files.rows.length,
  }
  copied.storedBytes += result.storedBytes
  copied.remarks.push(...result.remarks)
  for (const { path, remark } of result.remarks) {
    context.report({ type: 'warning', message: `"${Buffer.from(path, 'latin1').toString()}" ${remark}` })
  }
  for (const errors of result.pageErrors) {
    copied.pageErrors.push(errors)
    context.report({
      type: 'page-errors-found',
      path: Buffer.from(errors.path, 'latin1').toString(),
      fork: forkOf(errors.path),
      pages: errors.pages,
      firstBlock: errors.first.block,
      ranges: errors.ranges
        .slice(0, 5)
        .map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`))
        .join(', '),
    })
  }
  context.report({
    type: 'archive-packed',
    key: result.key,
    files: result.files.rows.length,
    bytes: result.files.size.reduce((sum, size) => sum + size, 0),
    storedBytes: result.storedBytes,
  })
}

/** The fork of a relation file (C7: a wrong page of a free space or visibility map is repaired by the server). */
export function forkOf(path: string): string {
  return parseRelationFileName(path.slice(path.lastIndexOf('/') + 1))?.fork ?? 'main'
}

function directoryMembers(inventory: Inventory): PackMember[] {
  return [...inventory.directories, ...inventory.tablespaces]
    .map(({ path, mode, uid, gid, mtimeMs }) => ({
      index: -1,
      type: 'directory' as const,
      path: path.toString('latin1'),
      size: 0,
      mode,
      uid,
      gid,
      mtimeMs,
    }))
    .sort((a, b) => (a.path < b.path ? -1 : 1))
}

async function controlEntry(
  source: BackupSource,
): Promise<{ mode: number; uid: number; gid: number; mtimeMs: number }> {
  const { mode, uid, gid, mtimeMs } = await stat(`${source.dataDirectory}/${PG_CONTROL}`)
  return { mode: mode & 0o7777, uid, gid, mtimeMs }
}
