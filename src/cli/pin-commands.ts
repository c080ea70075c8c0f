/** `pin` and `unpin`: backups that are kept whatever retention says. */
import { Command } from 'commander'
import type { PinAnswer } from '../commands/pin.js'
import { formatTime } from './format.js'
import { addSettings, COMMON_EXITS, helpEnd, REPOSITORY_SETTINGS } from './options.js'
import { start, type Options } from './start.js'

const BACKUP = ['<backup>', 'an id, the unique beginning of one, a label (its newest), or latest'] as const

/** `pgsluice pin` */
export function pinCommand(): Command {
  const command = new Command('pin')
    .description('keep a backup, and the WAL that it needs, whatever retention says')
    .argument(...BACKUP)
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--until <TIME>', 'keep it until then: a date, a time and an offset (default: until it is unpinned)')
    .option('--json', 'print the answer as JSON')
    .addHelpText(
      'after',
      helpEnd(['pgsluice pin latest', "pgsluice pin nightly --until '2027-01-01 00:00+01'"], COMMON_EXITS),
    )
    .action((backup: string, options: Options & { until?: string }) =>
      start(options, {
        run: async (settings, context) =>
          (await import('../commands/pin.js')).pin(settings, backup, { until: options.until }, context),
        text: pinText,
      }),
    )
}

/** `pgsluice unpin` */
export function unpinCommand(): Command {
  const command = new Command('unpin')
    .description('take the pin of a backup back; done, too, where it has none')
    .argument(...BACKUP)
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--json', 'print the answer as JSON')
    .addHelpText('after', helpEnd(['pgsluice unpin latest'], COMMON_EXITS))
    .action((backup: string, options: Options) =>
      start(options, {
        run: async (settings, context) => (await import('../commands/pin.js')).unpin(settings, backup, context),
        text: pinText,
      }),
    )
}

function pinText({ id, label, pinned, until, changed }: PinAnswer): string {
  const backup = `backup ${id} (${label})`
  if (!pinned) return changed ? `${backup} is pinned no more` : `${backup} is not pinned: nothing to do`
  const end = until === null ? 'until it is unpinned' : `until ${formatTime(until)}`
  return `${backup} ${changed ? 'is pinned' : 'was pinned already'} ${end}`
}
