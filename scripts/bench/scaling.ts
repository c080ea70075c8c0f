/** How the time of a backup and of a restore grows with the bytes and with the threads: ours alone, at several sizes. */
import { copyBothWays, runRound } from './rounds.js'
import { makeSource } from './source.js'
import type { Bench } from './rounds.js'
import type { Store } from './stores.js'
import type { Tool } from './tool.js'

/** Threads of a run; the last is more than the cores of most machines that measure. */
const JOBS = [1, 2, 4]

/** Makes a cluster of each size in turn, and copies it both ways with each number of threads. */
export async function measureScaling(
  bench: Bench,
  { store, tool, major, sizes }: { store: Store; tool: Tool; major: number; sizes: readonly number[] },
): Promise<void> {
  for (const size of sizes) {
    const source = await makeSource(major, size, {})
    try {
      for (const jobs of JOBS) {
        const results = { ...bench.results, runs: [], proofs: [], failures: [] }
        const one: Bench = { ...bench, source, jobs, results, progress: () => undefined }
        await runRound(one, [tool], 1, (each, turn) => copyBothWays(one, store, each, turn))
        bench.results.scaling.push(...results.runs.map((run) => Object.assign(run, { bytes: source.bytes, jobs })))
        bench.results.failures.push(...results.failures)
        bench.progress(`${(source.bytes / 1e9).toFixed(2)} GB with ${jobs} threads`)
      }
    } finally {
      await source.cluster.destroy()
    }
  }
}
