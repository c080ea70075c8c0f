/** `plan` and `restore`: bringing a cluster back, and looking first at what that would take. */
import { Command, Option } from 'commander'
import type { RecoveryOptions } from '../commands/recovery-request.js'
import type { RestoreOptions } from '../commands/restore.js'
import { EXIT_CODES } from '../errors.js'
import {
  addSettings,
  ANSWER_NO,
  COMMON_EXITS,
  helpEnd,
  nonEmpty,
  parseTablespaceMapping,
  REPOSITORY_SETTINGS,
} from './options.js'
import { start, type Options } from './start.js'

interface RecoveryFlags {
  targetTime?: string
  targetLsn?: string
  targetXid?: string
  targetName?: string
  target?: string
  targetExclusive?: true
  targetTimeline?: string
  scan?: true
}

interface RestoreFlags extends RecoveryFlags {
  targetDir: string
  configDir?: string
  targetAction?: 'pause' | 'promote' | 'shutdown'
  standby?: true
  primaryConninfo?: string
  isolated?: true
  tablespaceMapping?: string[]
  archiveMode?: 'off' | 'preserve'
}

/** `pgsluice plan` */
export function planCommand(): Command {
  const command = new Command('plan')
    .description('what a restore would use, and how long it would take; touches nothing')
    .argument('[backup]', 'an id, the unique beginning of one, or a label (default: the newest that fits)', nonEmpty)
  addTargetOptions(command)
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'jobs', 'memory'])
  return command
    .option('--json', 'print the plan as JSON')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice plan',
          "pgsluice plan --target-time '2026-11-22 18:45:00+01'",
          'pgsluice plan --target-name before-upgrade --scan',
        ],
        [...COMMON_EXITS, [ANSWER_NO[0], 'the target cannot be reached']],
      ),
    )
    .action((backup: string | undefined, options: Options & RecoveryFlags) =>
      start(options, {
        run: async (settings, context) =>
          (await import('../commands/plan.js')).plan(settings, recoveryOptions(backup, options), context),
        text: async (answer) => (await import('./plan-text.js')).planText(answer),
        exitCode: ({ reachable }) => (reachable ? 0 : ANSWER_NO[0]),
      }),
    )
}

/** `pgsluice restore` */
export function restoreCommand(): Command {
  const command = new Command('restore')
    .description('restore a backup into a data directory, ready to recover to a target')
    .argument('[backup]', 'an id, the unique beginning of one, or a label (default: the newest that fits)', nonEmpty)
    .requiredOption('--target-dir <DIR>', 'the data directory to make: empty, or not there yet', nonEmpty)
    .option(
      '--config-dir <DIR>',
      'restore configuration files from outside the data directory, too: into DIR, empty or not there yet',
      nonEmpty,
    )
  addTargetOptions(command)
  command
    .addOption(
      new Option('--target-action <WHAT>', 'what the server does at the target (default: promote)').choices([
        'pause',
        'promote',
        'shutdown',
      ]),
    )
    .option('--standby', 'make a standby, which follows the archive until it is promoted')
    .option('--primary-conninfo <CONNINFO>', 'primary that the standby streams from, too', nonEmpty)
    .option('--isolated', 'make a copy that can do no harm: no archiving, no subscriptions, no jobs')
    .option('--tablespace-mapping <OLD=NEW>', 'put the tablespace at OLD to NEW (may be repeated)', collect)
    .addOption(
      new Option(
        '--archive-mode <MODE>',
        'whether the restored server archives WAL (default: off; of a standby: preserve)',
      ).choices(['off', 'preserve']),
    )
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'jobs', 'memory', 'max-rate'])
  return command
    .option('--json', 'print events and the result as JSON lines')
    .option('--nice', 'lower priority of CPU, reads and writes (a warning says what this host cannot)')
    .option('--quiet', 'print warnings and the result only')
    .addHelpText(
      'after',
      helpEnd(
        [
          'pgsluice restore --target-dir /srv/restored',
          "pgsluice restore --target-dir /srv/restored --target-time '2026-11-22 18:45:00+01' --isolated",
          "pgsluice restore --target-dir /srv/standby --standby --primary-conninfo 'host=db1 user=replicator'",
          'pgsluice restore --target-dir /srv/restored --config-dir /srv/restored-config',
          'pgsluice restore nightly --target-dir /srv/restored --tablespace-mapping /srv/fast=/srv/restored-fast',
        ],
        [
          ...COMMON_EXITS.filter(([exit]) => exit !== EXIT_CODES.refused.exit),
          [EXIT_CODES.refused.exit, 'refused, to protect data; or the target cannot be reached'],
        ],
      ),
    )
    .action((backup: string | undefined, options: Options & RestoreFlags) =>
      start(options, {
        streams: true,
        rereads: true,
        run: async (settings, context) => {
          const { restore } = await import('../commands/restore.js')
          return restore(settings, restoreOptions(backup, options), context)
        },
        text: ({ backup: { id }, targetDirectory, timeline, archiveMode, configuration }) =>
          `backup ${id} is restored to "${targetDirectory}"; start the server on it, and it recovers along timeline ${timeline}` +
          (archiveMode === 'off' ? '; archive_mode is off in its postgresql.auto.conf' : '') +
          (configuration
            ? `\nits configuration is restored to "${configuration.directory}"; start it with: ${configuration.startCommand}`
            : ''),
        json: (result) => ({ restore: result }),
      }),
    )
}

function addTargetOptions(command: Command): void {
  command
    .option('--target-time <TIME>', "recover to an instant, with its offset: '2026-11-22 18:45:00.5+01'", nonEmpty)
    .option('--target-lsn <LSN>', 'recover to an LSN', nonEmpty)
    .option('--target-xid <XID>', 'recover to a transaction', nonEmpty)
    .option('--target-name <NAME>', 'recover to a restore point (pg_create_restore_point)', nonEmpty)
    .option('--target <immediate>', 'recover only as far as the backup is consistent', nonEmpty)
    .option('--target-exclusive', 'stop just before the time, LSN or transaction')
    .option(
      '--target-timeline <TIMELINE>',
      'timeline to follow: a number (10, 0xA, 0000000A), latest or current (default: the only one that goes on)',
      nonEmpty,
    )
    .option('--scan', 'look for the transaction or the restore point in the WAL')
}

function recoveryOptions(backup: string | undefined, flags: RecoveryFlags): RecoveryOptions {
  const { targetTime, targetLsn, targetXid, targetName, target, targetExclusive, targetTimeline, scan } = flags
  return {
    backup,
    target: { targetTime, targetLsn, targetXid, targetName, target, targetExclusive },
    targetTimeline,
    scan,
  }
}

function restoreOptions(backup: string | undefined, flags: RestoreFlags): RestoreOptions {
  const {
    targetDir,
    configDir,
    targetAction,
    standby,
    primaryConninfo,
    isolated,
    tablespaceMapping = [],
    archiveMode,
  } = flags
  return {
    ...recoveryOptions(backup, flags),
    targetDirectory: targetDir,
    configDirectory: configDir,
    tablespaceMapping: new Map(tablespaceMapping.map(parseTablespaceMapping)),
    ...{ targetAction, standby, primaryConninfo, isolated, archiveMode },
  }
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value]
}
