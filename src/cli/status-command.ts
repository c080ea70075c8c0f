/** `status`: how far the archive is behind, for people and for monitoring. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { parseDuration } from '../config/quantities.js'
import { addSettings, ANSWER_NO, COMMON_EXITS, helpEnd, REPOSITORY_SETTINGS } from './options.js'
import { exposition } from './prometheus.js'
import { start, type Options } from './start.js'
import { textfileOf, textfileOption } from './textfile-option.js'

/** `pgsluice status` */
export function statusCommand(): Command {
  const command = new Command('status').description(
    'how far is the archive behind the server, and up to which instant can it be recovered',
  )
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'dbname', 'pgdata'])
  return command
    .addOption(
      new Option(
        '--max-lag <TIME>',
        'the answer is no where the archive lacks something for longer (such as 5min; where pg_wal cannot be read, for perhaps longer)',
      ).argParser(durationOf),
    )
    .addOption(
      new Option('--max-segments <N>', 'the answer is no where more whole segments are not in the archive').argParser(
        countOf,
      ),
    )
    .option('--offline', 'look at the bucket alone; ages are by the clock of this host')
    .option('--json', 'print the answer as JSON')
    .addOption(new Option('--prometheus', 'print the answer as metrics for Prometheus').conflicts('json'))
    .addOption(textfileOption())
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice status',
          'pgsluice status --max-lag 5min --max-segments 8',
          'pgsluice status --offline --cluster main',
          'pgsluice status --prometheus',
        ],
        [[0, 'all is well'], ANSWER_NO, ...COMMON_EXITS.slice(1)],
      ),
    )
    .action((options: Options & { maxLag?: number; maxSegments?: number; offline?: boolean; prometheus?: boolean }) =>
      start(options, {
        textfile: textfileOf(options, ({ STATUS_METRICS }) => STATUS_METRICS),
        run: async (settings, context) => {
          const { status } = await import('../commands/status.js')
          const { maxLag: maxLagMs, maxSegments, offline } = options
          return status(settings, { maxLagMs, maxSegments, offline }, context)
        },
        text: async (answer) => {
          if (!options.prometheus) return (await import('./status-text.js')).statusText(answer)
          const { statusMetrics } = await import('./status-metrics.js')
          return exposition(statusMetrics(answer)).trimEnd()
        },
        exitCode: ({ ok }) => (ok ? 0 : ANSWER_NO[0]),
      }),
    )
}

function durationOf(text: string): number {
  const duration = parseDuration(text)
  if (duration === undefined) throw new InvalidArgumentError('Expected a duration such as 5min.')
  return duration
}

function countOf(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.')
  return Number(text)
}
