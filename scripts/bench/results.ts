/** The JSON that the bench writes: every single run, and where it was made. */

/** What is measured. */
export type Subject = 'backup' | 'restore' | 'sink backup' | WalSubject
/** A way of moving WAL: how many segments, and whether the tool may work ahead of the request. */
export type WalSubject = `wal ${'push' | 'fetch'}, ${string}`

/** What measure-tree.py writes; seconds and KiB. */
export interface TreeUsage {
  wall: number
  /** How long processes left in the background went on afterwards. */
  background: number
  killedInBackground: boolean
  user: number
  system: number
  peakRssKiB: number
  peakPssKiB: number
  peakLargestKiB: number
  peakProcesses: number
}

/** One run of one tool. */
export interface Run extends TreeUsage {
  tool: string
  subject: Subject
  /** From 1. */
  round: number
  /** Its place among the runs of this round, from 1. */
  turn: number
  /** CPU seconds of the S3 server meanwhile; unknown where it is not ours. */
  storeCpu: number | undefined
  /** CPU seconds of PostgreSQL meanwhile, with the archive_command that it ran. */
  serverCpu: number | undefined
  /** Seconds that `sync` took afterwards: what the tool left to be written. */
  flush: number | undefined
  /** Bytes in the bucket (or in the local file) of this run. */
  storedBytes: number | undefined
  /** Milliseconds of each call, of WAL. */
  calls?: number[]
}

/** A run that did not end well. */
export interface Failure {
  tool: string
  subject: string
  round: number
  reason: string
}

/** What a tool is, as the table needs it. */
export interface ToolFacts {
  name: string
  version: string
  isOurs: boolean
  transport: string
  usesBucket: boolean
  compression: string
  remark: string | undefined
}

/** What one step costs by itself, on one thread. */
export interface Stage {
  name: string
  part: 'backup' | 'restore'
  /** Of the cluster, not as stored. */
  bytes: number
  /** Seconds. */
  cpu: number
  wall: number
}

/** One run of ours at another size or parallelism. */
export type ScalingRun = Run & { bytes: number; jobs: number }

/** One backup of ours of a small cluster, with what was added to it. */
export type ManyRun = Run & { what: string; files: number; bytes: number }

/** A real server that recovered from the archive of a tool. */
export interface Recovery {
  tool: string
  round: number
  /** From its start to the end of recovery. */
  seconds: number
  /** How many calls at the beginning do not count as warm. */
  cold: number
  /** Milliseconds of each call of restore_command that delivered a segment. */
  calls: number[]
}

/** What a steady load of pgbench met in a stretch of time. */
export interface LoadFigures {
  seconds: number
  /** How many the latencies are of. */
  transactions: number
  /** Transactions a second that ended. */
  tps: number
  medianMs: number
  p95Ms: number
  p99Ms: number
  maxMs: number
}

/** One backup under load, and the load just before it. */
export interface FriendlyRun {
  tool: string
  round: number
  /** Its place among the runs of this round, from 1. */
  turn: number
  /** Seconds of the backup. */
  wall: number
  before: LoadFigures
  during: LoadFigures
}

/** The latency of a database during backups. */
export interface Friendly {
  clients: number
  /** Transactions a second that were asked for. */
  rate: number
  /** Seconds ahead of each backup. */
  before: number
  /** What decides whether a low priority counts: autogroups of the kernel, and the scheduler of the cluster's disk. */
  priorities: { autogroups: boolean; ioScheduler: string | undefined }
  /** The load without a backup and without an archive. */
  alone: { when: string; figures: LoadFigures }[]
  runs: FriendlyRun[]
}

/** A restored cluster that was started and compared with its source. */
export interface Proof {
  tool: string
  tables: number
  rows: number
  ledgerEntries: number
}

/** All of it. */
export interface Results {
  /** The command that made them. */
  command: string
  /** RFC 3339 */
  date: string
  machine: { kernel: string; cpu: string; cores: number; memoryBytes: number; node: string; loadBefore: number }
  postgresql: string
  clusterBytes: number
  contents: string
  rounds: number
  jobs: number
  store: string
  caches: string
  tools: ToolFacts[]
  absent: { tool: string; reason: string }[]
  runs: Run[]
  stages: Stage[]
  scaling: ScalingRun[]
  /** Absent in results of before that phase. */
  many?: ManyRun[]
  /** Absent in results of before that phase. */
  recoveries?: Recovery[]
  /** Absent where that was not measured. */
  friendly?: Friendly
  proofs: Proof[]
  failures: Failure[]
}
