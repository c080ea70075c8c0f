/** `check` and `backup`, `list` and `show`: taking backups, and looking at them. */
import { Command, InvalidArgumentError, Option } from 'commander'
import type { ListOptions } from '../commands/list-filter.js'
import { EXIT_PAGE_ERRORS, EXIT_UNFINISHED } from '../errors.js'
import { addSettings, ANSWER_NO, COMMON_EXITS, helpEnd, PAGE_ERRORS, REPOSITORY_SETTINGS } from './options.js'
import { start, type Options } from './start.js'
import { textfileOf, textfileOption } from './textfile-option.js'

/** `pgsluice check` */
export function checkCommand(): Command {
  const command = new Command('check').description(
    'is everything ready: repository, server, and the way of WAL between them',
  )
  addSettings(command, [...REPOSITORY_SETTINGS, 'dbname', 'pgdata', 'archive-timeout'])
  return command
    .option('--json', 'print the findings as JSON')
    .addHelpText(
      'after',
      helpEnd(
        ['pgsluice check', 'pgsluice check --repository s3://backups/main --dbname service=main'],
        [...COMMON_EXITS.slice(0, 1), ANSWER_NO, ...COMMON_EXITS.slice(1)],
      ),
    )
    .action((options: Options) =>
      start(options, {
        run: async (settings, context) => (await import('../commands/check.js')).check(settings, context),
        text: async ({ findings }) => (await import('./check-text.js')).checkText(findings),
        exitCode: ({ ready }) => (ready ? 0 : ANSWER_NO[0]),
      }),
    )
}

/** Options about taking a backup, and about its server. */
const NOT_WITH_FINALIZE = [
  ...['label', 'checkpoint', 'dbname', 'pgdata', 'jobs', 'memory', 'compressionLevel', 'checksum', 'archiveTimeout'],
]

/** `pgsluice backup` */
export function backupCommand(): Command {
  const command = new Command('backup').description('take a base backup of a running server')
  addSettings(command, [
    ...REPOSITORY_SETTINGS,
    'dbname',
    'pgdata',
    'jobs',
    'memory',
    'max-rate',
    'compression-level',
    'checksum',
    'archive-timeout',
  ])
  return command
    .option('--label <LABEL>', 'a name for the backup, to restore it by')
    .addOption(
      new Option('--checkpoint <HOW>', 'start with a fast checkpoint, or spread it')
        .choices(['fast', 'spread'])
        .default('fast'),
    )
    .addOption(
      new Option(
        '--finalize <ID>',
        'take none, but commit the one that was complete but for its WAL; needs no server',
      ).conflicts(NOT_WITH_FINALIZE),
    )
    .option('--json', 'print events and the result as JSON lines')
    .option(
      '--nice',
      'lower priority of CPU, reads and writes (a warning says what this host cannot), and smaller reads',
    )
    .option('--quiet', 'print warnings and the result only')
    .addOption(textfileOption())
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice backup',
          'pgsluice backup --label nightly --jobs 4',
          'pgsluice backup --checkpoint spread --compression-level 3',
          'pgsluice backup --textfile /var/lib/prometheus/node-exporter/pgsluice_backup.prom',
          'pgsluice backup --finalize 20261122T184501Z-1f3a9c2e',
        ],
        [...COMMON_EXITS, PAGE_ERRORS],
      ),
    )
    .action((options: Options & { label?: string; checkpoint: 'fast' | 'spread'; finalize?: string }) =>
      start(options, {
        streams: true,
        rereads: true,
        textfile: textfileOf(options, ({ BACKUP_METRICS }) => BACKUP_METRICS),
        run: async (settings, context) => {
          if (options.finalize !== undefined) {
            return (await import('../commands/finalize.js')).finalize(settings, options.finalize, context)
          }
          const { backup } = await import('../commands/backup.js')
          return backup(
            settings,
            { label: options.label, checkpoint: options.checkpoint, smallReads: options.nice },
            context,
          )
        },
        text: ({ id }) => id,
        json: (backup) => ({ backup }),
        exitCode: ({ totals }) => (totals.pageErrors === 0 ? 0 : EXIT_PAGE_ERRORS),
      }),
    )
}

/** `pgsluice list` */
export function listCommand(): Command {
  const command = new Command('list').description('the backups of the repository')
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--label <LABEL>', 'only those with this label')
    .option('--since <TIME>', 'only those that ended then or later: a date, a time and an offset')
    .option('--until <TIME>', 'only those that ended then or earlier')
    .option('--timeline <TLI>', 'only those that ended on this timeline')
    .addOption(new Option('--latest <N>', 'only the newest N of these, of each cluster').argParser(countOf))
    .option('--json', 'print the backup records as JSON')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice list',
          "pgsluice list --label nightly --since '2026-11-01 00:00+01'",
          'pgsluice list --cluster main --latest 1 --json',
        ],
        COMMON_EXITS,
      ),
    )
    .action((options: Options & ListOptions) =>
      start(options, {
        run: async (settings, context) => {
          const { label, since, until, timeline, latest } = options
          return (await import('../commands/list.js')).list(
            settings,
            { label, since, until, timeline, latest },
            context,
          )
        },
        text: async (clusters) => {
          const columns = process.stdout.isTTY ? process.stdout.columns : undefined
          return (await import('./list-text.js')).listText(clusters, columns)
        },
        json: (clusters) => ({ clusters }),
        exitCode: (clusters) => (clusters.every(({ unreadable }) => unreadable.length === 0) ? 0 : EXIT_UNFINISHED),
      }),
    )
}

function countOf(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('Expected a whole number from 1.')
  return Number(text)
}

/** `pgsluice show` */
export function showCommand(): Command {
  const command = new Command('show')
    .description('one backup, whole')
    .argument('<backup>', 'an id, the unique beginning of one, a label (its newest), or latest')
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--json', 'print the record and its objects as JSON')
    .addHelpText('after', helpEnd(['pgsluice show latest', 'pgsluice show nightly --json'], COMMON_EXITS))
    .action((backup: string, options: Options) =>
      start(options, {
        run: async (settings, context) => (await import('../commands/show.js')).show(settings, backup, context),
        text: async (shown) => (await import('./show-text.js')).showText(shown),
      }),
    )
}
