/** `expire`, `gc` and `drop-cluster`: the only commands that delete. */
import { Command } from 'commander'
import { POLICY_SETTINGS } from '../config/retention-settings.js'
import { EXIT_UNFINISHED } from '../errors.js'
import { addSettings, COMMON_EXITS, helpEnd, nonEmpty, REPOSITORY_SETTINGS } from './options.js'
import { start, type Options } from './start.js'
import { textfileOf, textfileOption } from './textfile-option.js'

const DRY_RUN = ['--dry-run', 'say what would be done, and do nothing'] as const

/** Some objects stayed: another run, or another right, is needed. */
function exitOf({ deed }: { deed?: { failedObjects: number } }): number {
  return (deed?.failedObjects ?? 0) > 0 ? EXIT_UNFINISHED : 0
}

/** `pgsluice expire` */
export function expireCommand(): Command {
  const command = new Command('expire').description(
    'delete the backups that no policy keeps, and the WAL that nothing needs',
  )
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', ...POLICY_SETTINGS, 'grace'])
  return command
    .option(...DRY_RUN)
    .option('--json', 'print it as JSON')
    .option('--quiet', 'print warnings and the result only')
    .addOption(textfileOption().conflicts('dryRun'))
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice expire --keep-days 14 --dry-run',
          'pgsluice expire --keep-days 14 --keep-monthly 12',
          'pgsluice expire --keep-full 3 --grace 6h',
        ],
        COMMON_EXITS,
      ),
    )
    .action((options: Options & { dryRun?: boolean }) =>
      start(options, {
        textfile: textfileOf(options, ({ EXPIRE_METRICS }) => EXPIRE_METRICS),
        run: async (settings, context) => {
          const { expire } = await import('../commands/expire.js')
          return expire(settings, { dryRun: options.dryRun }, context)
        },
        text: async (result) => (await import('./retention-text.js')).expireText(result),
        exitCode: exitOf,
      }),
    )
}

/** `pgsluice gc` */
export function gcCommand(): Command {
  const command = new Command('gc').description('remove what interrupted runs have left')
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'grace'])
  return command
    .option(...DRY_RUN)
    .option('--json', 'print it as JSON')
    .option('--quiet', 'print warnings and the result only')
    .addHelpText('after', helpEnd(['pgsluice gc --dry-run', 'pgsluice gc'], COMMON_EXITS))
    .action((options: Options & { dryRun?: boolean }) =>
      start(options, {
        run: async (settings, context) => {
          const { gc } = await import('../commands/gc.js')
          return gc(settings, { dryRun: options.dryRun }, context)
        },
        text: async (result) => (await import('./retention-text.js')).gcText(result),
        exitCode: exitOf,
      }),
    )
}

/** `pgsluice drop-cluster` */
export function dropClusterCommand(): Command {
  const command = new Command('drop-cluster')
    .description('remove a whole cluster from the repository: all its backups and all its WAL')
    .argument('<name>', 'its full name, as "list" shows it', nonEmpty)
  addSettings(command, REPOSITORY_SETTINGS)
  return command
    .option(...DRY_RUN)
    .option('--yes', 'delete it for good')
    .option('--force', 'also where it is in use, pinned, or got WAL within a day')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice drop-cluster pg16-7412345678901234567 --dry-run',
          'pgsluice drop-cluster pg16-7412345678901234567 --yes',
        ],
        COMMON_EXITS,
      ),
    )
    .action((name: string, options: Options & { dryRun?: boolean; yes?: boolean; force?: boolean }) =>
      start(options, {
        run: async (settings, context) => {
          const { dropCluster } = await import('../commands/drop-cluster.js')
          const { dryRun, yes, force } = options
          return dropCluster(settings, name, { dryRun, yes, force }, context)
        },
        text: async (result) => (await import('./retention-text.js')).dropClusterText(result),
        exitCode: exitOf,
      }),
    )
}
