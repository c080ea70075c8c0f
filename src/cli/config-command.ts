/** `config`: the effective settings, and where each came from. */
import { Command } from 'commander'
import { SETTING_NAMES } from '../config/settings.js'
import { addSettings, COMMON_EXITS, helpEnd, settingFlags } from './options.js'
import { start, type Options } from './start.js'

/** `pgsluice config` */
export function configCommand(): Command {
  const command = new Command('config').description('the effective settings, and where each came from; asks nobody')
  addSettings(command, SETTING_NAMES)
  return command
    .option('--json', 'print them as JSON')
    .addHelpText(
      'after',
      helpEnd(
        ['pgsluice config', 'pgsluice config --config /etc/pgsluice/pgsluice.yaml --json'],
        COMMON_EXITS.slice(0, 2),
      ),
    )
    .action((options: Options) =>
      start(options, {
        run: async () => {
          const { explainSettings } = await import('./config.js')
          return explainSettings(settingFlags(options))
        },
        text: async (explained) => (await import('./config-text.js')).configText(explained),
      }),
    )
}
