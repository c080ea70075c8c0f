/** Tells how far the worker threads are, several times a second. */
import type { Report, ReportEvent } from '../report.js'

const INTERVAL_MS = 250

type Progress = Extract<ReportEvent, { type: 'progress' }>

/** How far something is; undefined while there is nothing to tell of. `totalBytes` comes from the plan, not from a second walk. */
export type Position = () => Pick<Progress, 'doneBytes' | 'totalBytes'> | undefined

/** Reports until the returned function is called. */
export function reportProgress(phase: Progress['phase'], position: Position, report: Report): () => void {
  const tell = (): void => {
    const at = position()
    if (!at) return
    const { doneBytes, totalBytes } = at
    // tar headers and padding count as done too
    report({ type: 'progress', phase, doneBytes: Math.min(doneBytes, totalBytes), totalBytes })
  }
  const timer = setInterval(tell, INTERVAL_MS)
  return () => {
    clearInterval(timer)
  }
}
