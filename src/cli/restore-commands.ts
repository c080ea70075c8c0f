/** `restore`: bringing a cluster back. */
import { Command, Option } from 'commander'
import { addSettings, COMMON_EXITS, helpEnd, nonEmpty, parseTablespaceMapping, REPOSITORY_SETTINGS } from './options.js'
import { start, type Options } from './start.js'

/** `pgsluice restore` */
export function restoreCommand(): Command {
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
