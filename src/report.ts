/**
 * What commands tell while they work: typed events, which the command line renders for people or as JSON lines.
 *
 * Commands and the worker pool emit; they never format and never print. An embedding program passes its own function.
 */

/** Something that happened. Past tense: the event is a fact when it is reported. */
export type ReportEvent =
  | { type: 'warning'; message: string; hint?: string }
  | { type: 'backup-started'; id: string; cluster: string; startLsn: string; startSegment: string; jobs: number }
  | { type: 'backup-planned'; files: number; bytes: number; archives: number }
  | { type: 'archive-packed'; key: string; files: number; bytes: number; storedBytes: number }
  | { type: 'page-errors-found'; path: string; fork: string; pages: number; firstBlock: number; ranges: string }
  | { type: 'wal-awaited'; segment: string; missing: number; seconds: number }
  | { type: 'backup-stopped'; stopLsn: string; stopSegment: string }
  | { type: 'backup-unfinished'; id: string }
  | { type: 'restore-planned'; id: string; files: number; bytes: number; archives: number }
  | { type: 'archive-extracted'; key: string; files: number; bytes: number }
  | { type: 'restore-synced'; files: number }
  | { type: 'wal-scanned'; backup: string; done: number; total: number }
  | { type: 'verify-started'; id: string; level: string; objects: number; bytes: number }
  | { type: 'fault-found'; id: string; key: string; place?: string; problem: string }
  | { type: 'backup-verified'; id: string; ok: boolean; faults: number }
  | { type: 'rate-changed'; bytesPerSecond: number | null }
  | { type: 'step'; message: string }
  | { type: 'progress'; phase: 'backup' | 'restore' | 'verify'; doneBytes: number; totalBytes: number }

/** Takes events. Must not throw. */
export type Report = (event: ReportEvent) => void

/** Tells nobody. */
export const silent: Report = () => undefined
