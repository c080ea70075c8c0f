/** What `backup`, `verify`, `expire` and `status` tell in their textfiles; docs/monitoring.md tells what each means. */
import type { backup } from '../commands/backup.js'
import type { ExpireResult } from '../commands/expire-result.js'
import type { Status } from '../commands/status.js'
import type { VerifiedBackup, VerifyAnswer } from '../commands/verify.js'
import type { Gauge } from './prometheus.js'
import { statusMetrics } from './status-metrics.js'
import type { RunMetrics, TextfileCommand } from './textfile-content.js'

type BackupRecord = Awaited<ReturnType<typeof backup>>

/** Of `backup`. A backup with page errors is one. Its end counts, not that of the run: to finalize an old one makes it no younger. */
export const BACKUP_METRICS: RunMetrics<BackupRecord> = {
  command: 'backup',
  lasts: true,
  clusters: ({ cluster }) => [cluster],
  successHelp: 'End of the backup that the last successful run has committed, by the clock of the server.',
  success: ({ stop }) => new Date(stop.time),
  gauges: ({ cluster, totals, files }) => {
    const gauge = gaugeOfCluster('backup', cluster)
    return [
      gauge('bytes', 'Bytes of the files in that backup.', totals.bytes),
      gauge('stored_bytes', 'Bytes of that backup as stored, without WAL.', totals.storedBytes),
      gauge('files', 'Files in that backup.', files.count),
      gauge('duration_seconds', 'How long that backup took, from its start to its commit.', totals.seconds),
      gauge('corrupt_pages', 'Pages with a wrong checksum in that backup.', totals.pageErrors),
      gauge('skipped_files', 'Files that could not be part of that backup.', totals.skippedFiles),
    ]
  },
}

/** Of `verify`. One run looks at many backups, and at those of several clusters. */
export const VERIFY_METRICS: RunMetrics<VerifyAnswer> = {
  command: 'verify',
  lasts: true,
  isOfSeveral: true,
  clusters: ({ backups }) => [...new Set(backups.map(({ cluster }) => cluster))],
  successHelp: 'When the last run ended that found nothing wrong.',
  success: successByExitCode,
  gauges: ({ backups: all, level }) => {
    const backups = all.filter(({ state }) => state !== 'deleted')
    const clusters = [...new Set(backups.map(({ cluster }) => cluster))]
    const gauge = (name: string, help: string, value: (backups: VerifiedBackup[]) => number): Gauge => ({
      name: `pgsluice_verify_${name}`,
      help,
      samples: clusters.map((cluster) => {
        const ofCluster = backups.filter((backup) => backup.cluster === cluster)
        return { labels: { cluster, level }, value: value(ofCluster) }
      }),
    })
    const count = (isMeant: (backup: VerifiedBackup) => boolean) => (some: VerifiedBackup[]) =>
      some.filter(isMeant).length
    return [
      gauge(
        'backups',
        'Backups that it was about.',
        count(() => true),
      ),
      gauge(
        'checked_backups',
        'Backups that it looked at.',
        count(({ state }) => state !== 'recent'),
      ),
      gauge(
        'faulty_backups',
        'Backups with something wrong.',
        count(({ state }) => state === 'faults'),
      ),
      gauge('faults', 'What is wrong with them, all together.', (some) =>
        some.reduce((sum, { faultCount }) => sum + faultCount, 0),
      ),
      gauge(
        'unkept_proofs',
        'Proofs that could not be stored.',
        count(({ proofKept }) => !proofKept),
      ),
      gauge('oldest_look_timestamp_seconds', 'When the one was looked at that was looked at longest ago.', (some) =>
        Math.min(...some.map(({ time }) => Date.parse(time) / 1000)),
      ),
    ]
  },
}

/** Of `expire`. */
export const EXPIRE_METRICS: RunMetrics<ExpireResult> = {
  command: 'expire',
  lasts: true,
  clusters: ({ cluster }) => [cluster],
  successHelp: 'When the last run ended that deleted all that it was to delete.',
  success: successByExitCode,
  gauges: ({ cluster, backups, folders, unreadable, walHolds, deed }) => {
    const gauge = gaugeOfCluster('expire', cluster)
    const kept = backups.filter(({ action }) => action === 'keep')
    const gone = folders.filter(({ folder, when }) => folder === 'base' && when === 'now')
    return [
      gauge('kept_backups', 'Backups that are kept.', kept.length),
      gauge('kept_bytes', 'Bytes of these as stored, without WAL.', sum(kept.map(({ storedBytes }) => storedBytes))),
      gauge('retired_backups', 'Backups that it took off the list.', backups.length - kept.length),
      gauge('deleted_backups', 'Retired backups whose grace period was over, so that it deleted them.', gone.length),
      gauge('deleted_objects', 'Objects that it deleted, WAL included.', deed?.deletedObjects),
      gauge('deleted_bytes', 'Bytes that it freed.', deed?.deletedBytes),
      gauge('failed_objects', 'Objects that the store would not let go.', deed?.failedObjects),
      gauge('unreadable_backups', 'Backup records that cannot be read.', unreadable.length),
      gauge('wal_held', 'Whether something forbids to delete any WAL (1).', Number(walHolds.length > 0)),
    ]
  },
}

/** Of `status`: what `--prometheus` prints, too. */
export const STATUS_METRICS: RunMetrics<Status> = {
  command: 'status',
  // of a moment: a lag of then is not one of now
  lasts: false,
  clusters: ({ cluster }) => [cluster],
  successHelp: 'When the last run ended that found no problem.',
  success: successByExitCode,
  gauges: statusMetrics,
}

/** Makes gauges of a command that have one value each, of that cluster. */
function gaugeOfCluster(command: TextfileCommand, cluster: string) {
  return (name: string, help: string, value: number | undefined): Gauge => ({
    name: `pgsluice_${command}_${name}`,
    help,
    samples: [{ labels: { cluster }, value }],
  })
}

function successByExitCode(_: unknown, { exitCode, ended }: { exitCode: number; ended: Date }): Date | undefined {
  return exitCode === 0 ? ended : undefined
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}
