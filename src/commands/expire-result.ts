/** What `expire` says of what it found and did: plain data, for people and machines alike. */
import type { RetentionInventory } from '../repository/retention-inventory.js'
import type { RetentionPolicy } from '../repository/retention-policy.js'
import type { RetentionPlan } from '../repository/retention.js'
import type { BackupFolder } from '../repository/retired.js'
import type { WalStretch } from '../repository/wal-survey.js'
import type { Deed, Retirements } from './retire.js'

/** What one run decides with. */
export interface ExpireRun {
  /** Say what would be done, and do nothing. */
  dryRun?: boolean | undefined
  policy: RetentionPolicy
  graceMs: number
  /** By the store's clock. */
  now: Date
}

/** One backup. */
export interface ExpireBackup {
  id: string
  label: string
  /** RFC 3339, by the server's clock. */
  stopTime: string
  /** Of its objects. */
  storedBytes: number
  action: 'keep' | 'expire'
  reasons: string[]
}

/** A folder of a backup that expires, or whose record has gone earlier. */
export interface ExpireFolder {
  folder: BackupFolder
  id: string
  reason: string
  /** `now`: in this run; `later`: once it was announced for the grace period. */
  when: 'now' | 'later'
}

/** WAL files of neighbouring segments. */
export interface ExpireWal {
  timeline: number
  /** Names of the first and last segment. */
  first: string
  last: string
  files: number
  storedBytes: number
  action: 'keep' | 'delete'
  reason: string
  /** Of what is deleted. */
  when?: 'now' | 'later'
}

/** What a run has done. */
export interface RetentionDeed {
  /** What it announced in. */
  announcement?: string
  deletedObjects: number
  deletedBytes: number
  /** How many objects the store would not let go. */
  failedObjects: number
  /** The first of them. */
  failures: { key: string; reason: string }[]
}

/** Everything. */
export interface ExpireResult {
  cluster: string
  dryRun: boolean
  policy: RetentionPolicy
  graceSeconds: number
  /** Oldest first. */
  backups: ExpireBackup[]
  folders: ExpireFolder[]
  wal: ExpireWal[]
  /** Backups without a record that were left alone: in progress, or to be finalized. */
  inUse: { id: string; state: 'running' | 'unfinished' }[]
  /** Backup records that cannot be read: left alone, with all they may need. */
  unreadable: { id: string; reason: string }[]
  /** Why no WAL is deleted at all. */
  walHolds: string[]
  /** Missing in a dry run. */
  deed?: RetentionDeed
}

const FAILURES_NAMED = 20

const USES: Readonly<Record<WalStretch['use'], string>> = {
  recovery: 'recovery may need it',
  backup: 'a backup that is kept needs it',
  unknown: 'nothing says that it is older than what is kept',
  held: 'not needed, but no WAL may be deleted now',
  expired: 'older than what is kept',
}

/** Puts it together. */
export function expireResult(parts: {
  inventory: RetentionInventory
  run: ExpireRun
  plan: RetentionPlan
  wal: readonly WalStretch[]
  retirements: Retirements
  deed: Deed | undefined
}): ExpireResult {
  const { inventory, run, plan, wal, retirements, deed } = parts
  return {
    cluster: inventory.cluster.name,
    dryRun: run.dryRun ?? false,
    policy: run.policy,
    graceSeconds: run.graceMs / 1000,
    backups: plan.backups.map(({ backup: { id, label, stop, objects }, isKept, reasons }) => ({
      ...{ id, label, stopTime: stop.time, storedBytes: objects.bytes, reasons },
      action: isKept ? 'keep' : 'expire',
    })),
    folders: retirements.folders.map(({ folder, id, reason, when }) => ({ folder, id, reason, when })),
    wal: wal.map(({ timeline, first, last, files, storedBytes, use, when }) => ({
      ...{ timeline, first, last, files, storedBytes },
      action: use === 'expired' ? 'delete' : 'keep',
      reason: USES[use],
      ...(when && { when: when.when }),
    })),
    inUse: inventory.inUse.map(({ id, state }) => ({ id, state })),
    unreadable: inventory.unreadable.map(({ id, error }) => ({ id, reason: error.message })),
    walHolds: plan.walHolds,
    ...(deed && { deed: deedResult(deed) }),
  }
}

/** A deed as it is told. */
export function deedResult({ announcement, deleted, failed }: Deed): RetentionDeed {
  return {
    ...(announcement !== undefined && { announcement }),
    deletedObjects: deleted.objects,
    deletedBytes: deleted.bytes,
    failedObjects: failed.length,
    failures: failed.slice(0, FAILURES_NAMED),
  }
}
