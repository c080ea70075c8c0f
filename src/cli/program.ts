/** The command tree: names, options, help. Each command's code is loaded when it runs. */
import { Command, Option } from 'commander'
import { EXIT_PAGE_ERRORS, EXIT_UNFINISHED } from '../errors.js'
import { execute, type Execution } from './execute.js'
import {
  addSettings,
  ANSWER_NO,
  COMMON_EXITS,
  FETCH_EXITS,
  helpEnd,
  nonEmpty,
  PAGE_ERRORS,
  parseTablespaceMapping,
  REPOSITORY_SETTINGS,
  settingFlags,
} from './options.js'

type Options = Record<string, unknown> & { json?: boolean; quiet?: boolean }

/** The whole command line. */
export function createProgram(version: string): Command {
  const program = new Command('pgsluice')
    .description('Streams PostgreSQL clusters into S3-compatible buckets and brings them back.')
    .version(version)
    .configureHelp({ sortSubcommands: false, showGlobalOptions: false })
    .addHelpText('after', HELP)
    .exitOverride()
  program.addCommand(checkCommand())
  program.addCommand(backupCommand())
  program.addCommand(listCommand())
  program.addCommand(showCommand())
  program.addCommand(restoreCommand())
  program.addCommand(walCommand())
  for (const command of allCommands(program)) command.exitOverride().showHelpAfterError('(see --help)')
  return program
}

const HELP = `
Settings come from flags, PGSLUICE_* in the environment, and pgsluice.yaml, in this order. Credentials, region and
endpoint come from the AWS SDK's own chain; the server from libpq's own (PGHOST, PGSERVICE, ~/.pgpass).

Examples:
  export PGSLUICE_REPOSITORY=s3://backups/main
  pgsluice check
  pgsluice backup --label nightly
  pgsluice list
  pgsluice restore latest --target-dir /srv/restored`

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)]
}

function start<T>(options: Options, execution: Omit<Execution<T>, 'flags'>): Promise<void> {
  return execute({
    ...execution,
    flags: { ...settingFlags(options), json: options.json === true, quiet: options.quiet === true },
  })
}

function checkCommand(): Command {
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
        text: async ({ findings }) => (await import('./tables.js')).checkText(findings),
        exitCode: ({ ready }) => (ready ? 0 : ANSWER_NO[0]),
      }),
    )
}

function backupCommand(): Command {
  const command = new Command('backup').description('take a base backup of a running server')
  addSettings(command, [
    ...REPOSITORY_SETTINGS,
    'dbname',
    'pgdata',
    'jobs',
    'memory',
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
    .option('--json', 'print events and the result as JSON lines')
    .option('--quiet', 'print warnings and the result only')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice backup',
          'pgsluice backup --label nightly --jobs 4',
          'pgsluice backup --checkpoint spread --compression-level 3',
        ],
        [...COMMON_EXITS, PAGE_ERRORS],
      ),
    )
    .action((options: Options & { label?: string; checkpoint: 'fast' | 'spread' }) =>
      start(options, {
        streams: true,
        run: async (settings, context) => {
          const { backup } = await import('../commands/backup.js')
          return backup(settings, { label: options.label, checkpoint: options.checkpoint }, context)
        },
        text: ({ id }) => id,
        json: (backup) => ({ backup }),
        exitCode: ({ totals }) => (totals.pageErrors === 0 ? 0 : EXIT_PAGE_ERRORS),
      }),
    )
}

function listCommand(): Command {
  const command = new Command('list').description('the backups of the repository')
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--json', 'print the backup records as JSON')
    .addHelpText('after', helpEnd(['pgsluice list', 'pgsluice list --json'], COMMON_EXITS))
    .action((options: Options) =>
      start(options, {
        run: async (settings, context) => (await import('../commands/list.js')).list(settings, context),
        text: async (clusters) => (await import('./tables.js')).listText(clusters),
        json: (clusters) => ({ clusters }),
        exitCode: (clusters) => (clusters.every(({ unreadable }) => unreadable.length === 0) ? 0 : EXIT_UNFINISHED),
      }),
    )
}

function showCommand(): Command {
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
        text: async (shown) => (await import('./tables.js')).showText(shown),
      }),
    )
}

function restoreCommand(): Command {
  const command = new Command('restore')
    .description('restore a backup into a data directory, ready to recover to the end of the archive')
    .argument('[backup]', 'an id, the unique beginning of one, a label (its newest), or latest', nonEmpty, 'latest')
    .requiredOption('--target-dir <DIR>', 'the data directory to make: empty, or not there yet', nonEmpty)
    .option('--tablespace-mapping <OLD=NEW>', 'put the tablespace at OLD to NEW (may be repeated)', collect)
    .addOption(
      new Option('--archive-mode <MODE>', 'whether the restored server archives WAL')
        .choices(['off', 'preserve'])
        .default('off'),
    )
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'jobs', 'memory'])
  return command
    .option('--json', 'print events and the result as JSON lines')
    .option('--quiet', 'print warnings and the result only')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice restore latest --target-dir /srv/restored',
          'pgsluice restore nightly --target-dir /srv/restored --tablespace-mapping /srv/fast=/srv/restored-fast',
        ],
        COMMON_EXITS,
      ),
    )
    .action(
      (
        backup: string,
        options: Options & { targetDir: string; tablespaceMapping?: string[]; archiveMode: 'off' | 'preserve' },
      ) =>
        start(options, {
          streams: true,
          run: async (settings, context) => {
            const { restore } = await import('../commands/restore.js')
            const tablespaceMapping = new Map((options.tablespaceMapping ?? []).map(parseTablespaceMapping))
            const { targetDir: targetDirectory, archiveMode } = options
            return restore(settings, { backup, targetDirectory, tablespaceMapping, archiveMode }, context)
          },
          text: ({ backup: { id }, targetDirectory }) =>
            `backup ${id} is restored to "${targetDirectory}"; start the server on it, and it recovers to the end of the archive`,
          json: (result) => ({ restore: result }),
        }),
    )
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}

function walCommand(): Command {
  const wal = new Command('wal').description('the WAL archive')
  const push = new Command('push')
    .description(`archive one WAL file: archive_command = 'pgsluice-wal push "%p"'`)
    .argument('<path>', 'the file, as PostgreSQL passes it with %p', nonEmpty)
  addSettings(push, [...REPOSITORY_SETTINGS, 'pgdata', 'compression-level'])
  push
    .addHelpText(
      'after',
      helpEnd(
        [`archive_command = 'pgsluice-wal push "%p"'`],
        [
          ...COMMON_EXITS.slice(0, 3),
          [4, 'other content is archived under that name, or it is no WAL file of this cluster'],
        ],
      ),
    )
    .action((path: string, options: Options) =>
      start(options, {
        rules: 'wal-push',
        run: async (settings, context) => (await import('../commands/wal-push.js')).walPush(settings, path, context),
      }),
    )
  const fetch = new Command('fetch')
    .description(`fetch one WAL file: restore_command = 'pgsluice-wal fetch %f "%p"'`)
    .argument('<name>', 'the file wanted, as PostgreSQL passes it with %f', nonEmpty)
    .argument('<destination>', 'where to put it, as PostgreSQL passes it with %p', nonEmpty)
  addSettings(fetch, [...REPOSITORY_SETTINGS, 'cluster', 'pgdata'])
  fetch
    .addHelpText(
      'after',
      helpEnd(
        [
          `restore_command = 'pgsluice-wal fetch %f "%p"'`,
          'pgsluice wal fetch 000000010000000000000002 /tmp/segment --cluster main',
        ],
        FETCH_EXITS,
      ),
    )
    .action((name: string, destination: string, options: Options) =>
      start(options, {
        rules: 'wal-fetch',
        run: async (settings, context) =>
          (await import('../commands/wal-fetch.js')).walFetch(settings, name, destination, context),
      }),
    )
  return wal.addCommand(push).addCommand(fetch)
}
