/** A status as metrics. Instants rather than ages, which would be wrong by the time they are read: `time() - x` is the age. */
import type { Status } from '../commands/status.js'
import type { Gauge } from './prometheus.js'

/** The metrics of `status --prometheus`; docs/monitoring.md tells what each means. */
export function statusMetrics(status: Status): Gauge[] {
  const { cluster, lag, backup, recoverable, server } = status
  const gauge = (name: string, help: string, value: number | undefined): Gauge => ({
    name: `pgsluice_${name}`,
    help,
    samples: [{ labels: { cluster }, value }],
  })
  return [
    gauge('status_ok', 'Whether status found no problem (1) or one (0).', Number(status.ok)),
    gauge('status_problems', 'Problems that status found.', status.problems.length),
    gauge('status_timestamp_seconds', 'When status looked, by the clock that it names.', seconds(status.time)),
    gauge('archive_lag_seconds', 'Since when the archive lacks something of the server.', lag?.seconds),
    gauge('archive_lag_at_most', 'Whether the lag in seconds is only a bound (1).', lag && Number(lag.isAtMost)),
    gauge('archive_lag_bytes', 'WAL of the server that is not in the archive.', lag?.bytes),
    gauge('archive_lag_segments', 'Whole segments that are not in the archive.', lag?.segments),
    gauge('newest_backup_timestamp_seconds', 'End of the newest backup that is whole.', seconds(backup?.stopTime)),
    gauge('recoverable_timestamp_seconds', 'Newest instant that can be recovered.', seconds(recoverable?.time)),
    gauge('archive_gap', 'Whether WAL is missing behind the newest backup (1).', Number(status.gap !== undefined)),
    gauge('archive_heads', 'Timelines that end with WAL of their own.', status.heads.length),
    gauge(
      'archiver_failing',
      'Whether the last attempt of the archiver failed (1).',
      server && Number(server.archiver.isFailing),
    ),
    gauge('archiver_ready_files', 'Files that wait for the archiver.', server?.archiver.readyFiles),
  ]
}

function seconds(time: string | undefined): number | undefined {
  return time === undefined ? undefined : new Date(time).getTime() / 1000
}
