/** A backup whose files are stored and which the server has stopped: what its indexes and its record are made from. */
import type { StartedBackup, StoppedBackup } from '../postgres/session/backup-session.js'
import type { ConfigFile } from '../postgres/session/cluster.js'
import { segmentNames } from '../postgres/wal-segment.js'
import type { Copied } from './backup-copy.js'
import type { Inventory } from './backup-inventory.js'
import type { BackupSource } from './backup-source.js'

/** A backup that has been stopped. */
export interface FinishedBackup {
  id: string
  label: string
  /** Name of the cluster in the repository. */
  cluster: string
  source: BackupSource
  started: StartedBackup
  /** LSN of the checkpoint that starts recovery, from the backup label. */
  checkpointLsn: bigint
  inventory: Inventory
  copied: Copied
  stopped: StoppedBackup
  /** Configuration files as the server names them (W8). */
  configFiles: readonly ConfigFile[]
}

/** Names of all WAL segments that the backup needs, ascending; at least one. */
export function neededSegments({ source, started, stopped }: FinishedBackup): string[] {
  return segmentNames(started.timeline, started.startLsn, stopped.stopLsn, source.server.walSegmentSize)
}
