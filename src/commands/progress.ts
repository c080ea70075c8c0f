/** Tells how far the worker threads are, several times a second. */
import type { Report, ReportEvent } from '../report.js'
import type { WorkerPool } from '../workers/pool.js'

const INTERVAL_MS = 250

/** Reports until the returned function is called. `totalBytes` comes from the plan, not from a second walk. */
export function reportProgress(
  pool: Pick<WorkerPool, 'doneBytes'>,
  phase: Extract<ReportEvent, { type: 'progress' }>['phase'],
  totalBytes: number,
  report: Report,
): () => void {
  const tell = (): void => {
    // tar headers and padding count as done too
    report({ type: 'progress', phase, doneBytes: Math.min(pool.doneBytes, totalBytes), totalBytes })
  }
  const timer = setInterval(tell, INTERVAL_MS)
  return () => {
    clearInterval(timer)
  }
}
