/** A backup of very many small files, and of a table that is all holes: ours alone, and what memory it takes. */
import { randomBytes } from 'node:crypto'
import { closeSync, ftruncateSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs'
import path from 'node:path'
import { giveToServerUser } from '../../test/support/server-user.js'
import { copyIntoSink, runRound } from './rounds.js'
import type { ManyRun, Run } from './results.js'
import type { Bench } from './rounds.js'
import type { Store } from './stores.js'
import type { Tool } from './tool.js'

const DIRECTORIES = 10_000
/** Sizes go from 0 to this, all alike often. */
const LARGEST_FILE = 4096
const SEGMENT_BYTES = 1024 ** 3
/** A database that no catalog knows: the server never looks into it, and a backup takes it like any other. */
const NO_DATABASE = 'base/4000000000'

/**
 * Backs the cluster of the bench up three times into a bucket that keeps nothing: as it is, with `files` files of 0 to
 * 4 KiB in 10,000 directories, and with a sparse table of `table` bytes besides. What was added is removed.
 */
export async function measureMany(
  bench: Bench,
  { sinks, tool, files, table }: { sinks: Store; tool: Tool; files: number; table: number },
): Promise<void> {
  const { pgdata } = bench.source.cluster
  const [small, relation] = [path.join(pgdata, 'bench_many'), path.join(pgdata, NO_DATABASE)]
  try {
    await copy(bench, sinks, tool, 'the cluster alone')
    await plantFiles(small, files)
    await copy(bench, sinks, tool, `with ${files} files of 0 to 4 KiB`)
    await plantTable(relation, table)
    await copy(bench, sinks, tool, `and a table of ${(table / 1e9).toFixed(0)} GB of holes`)
  } finally {
    for (const planted of [small, relation]) rmSync(planted, { recursive: true, force: true })
  }
}

async function copy(bench: Bench, sinks: Store, tool: Tool, what: string): Promise<void> {
  const counted = countIn(bench.source.cluster.pgdata)
  const results = { ...bench.results, runs: [], proofs: [], failures: [] }
  const one: Bench = { ...bench, results, progress: () => undefined }
  await runRound(one, [tool], 1, (each, turn) => copyIntoSink(one, sinks, each, turn))
  const runs = results.runs.map((run): ManyRun => ({ ...(run as Run), ...counted, what }))
  ;(bench.results.many ??= []).push(...runs)
  bench.results.failures.push(...results.failures)
  bench.progress(`${what}: ${runs.map(({ wall }) => `${wall.toFixed(1)} s`).join('')}`)
}

async function plantFiles(root: string, count: number): Promise<void> {
  const noise = randomBytes(2 * LARGEST_FILE)
  for (let directory = 0; directory < DIRECTORIES; directory++) {
    const parent = path.join(root, String(directory))
    mkdirSync(parent, { recursive: true, mode: 0o700 })
    for (let n = directory; n < count; n += DIRECTORIES) {
      const from = n % LARGEST_FILE
      // a multiplier without a common factor spreads the sizes
      writeNew(path.join(parent, String(n)), (descriptor) =>
        writeSync(descriptor, noise, from, (n * 2_654_435) % (LARGEST_FILE + 1)),
      )
    }
  }
  await giveToServerUser(root)
}

async function plantTable(directory: string, bytes: number): Promise<void> {
  mkdirSync(directory, { mode: 0o700 })
  for (let segment = 0; segment * SEGMENT_BYTES < bytes; segment++) {
    const size = Math.min(SEGMENT_BYTES, bytes - segment * SEGMENT_BYTES)
    // whole pages, as those of a table are
    const name = segment === 0 ? '16384' : `16384.${segment}`
    writeNew(path.join(directory, name), (descriptor) => ftruncateSync(descriptor, size - (size % 8192)))
  }
  await giveToServerUser(directory)
}

function writeNew(file: string, fill: (descriptor: number) => unknown): void {
  const descriptor = openSync(file, 'wx', 0o600)
  try {
    fill(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** Files and bytes of a data directory as it stands; they differ a little from what a backup takes. */
function countIn(directory: string): { files: number; bytes: number } {
  const total = { files: 0, bytes: 0 }
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    total.files++
    total.bytes += statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return total
}
