/** `verify` and `acknowledge`: what backups are worth, and what an operator accepts of them. */
import { Command, InvalidArgumentError, Option } from 'commander'
import type { VerifyOptions } from '../commands/verify.js'
import { parseDuration } from '../config/quantities.js'
import { EXIT_UNFINISHED } from '../errors.js'
import { addSettings, ANSWER_NO, COMMON_EXITS, helpEnd, nonEmpty, REPOSITORY_SETTINGS } from './options.js'
import { start, type Options } from './start.js'
import { textfileOf, textfileOption } from './textfile-option.js'

/** `pgsluice verify` */
export function verifyCommand(): Command {
  const command = new Command('verify')
    .description('prove that backups can be restored, without restoring them')
    .argument('[backup]', 'an id, the unique beginning of one, a label (its newest), latest, or all', nonEmpty, 'all')
    .addOption(
      new Option(
        '--level <LEVEL>',
        'how deep: metadata (what is there, and the indexes), content (every byte), wal (its WAL, too)',
      )
        .choices(['metadata', 'content', 'wal'])
        .default('content'),
    )
    .option('--since <TIME>', 'leave out backups that were proven within that time, such as 7d', parseSince)
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster', 'jobs', 'memory'])
  return command
    .option('--json', 'print events and the result as JSON lines')
    .option('--quiet', 'print warnings and the result only')
    .addOption(textfileOption())
    .addHelpText(
      'after',
      helpEnd(
        ['pgsluice verify', 'pgsluice verify latest --level wal', 'pgsluice verify all --since 7d --json'],
        [...COMMON_EXITS, [ANSWER_NO[0], 'something is wrong with a backup']],
      ),
    )
    .action((backup: string, options: Options & { level: VerifyOptions['level']; since?: number }) =>
      start(options, {
        streams: true,
        textfile: textfileOf(options, ({ VERIFY_METRICS }) => VERIFY_METRICS),
        run: async (settings, context) => {
          const { verify } = await import('../commands/verify.js')
          return verify(settings, { backup, level: options.level, sinceMs: options.since }, context)
        },
        text: async (answer) => (await import('./verify-text.js')).verifyText(answer),
        json: (answer) => ({ verify: answer }),
        exitCode: ({ ok, backups }) => {
          if (!ok) return ANSWER_NO[0]
          return backups.every(({ proofKept, state }) => proofKept || state === 'deleted') ? 0 : EXIT_UNFINISHED
        },
      }),
    )
}

/** `pgsluice acknowledge` */
export function acknowledgeCommand(): Command {
  const command = new Command('acknowledge')
    .description('accept what is wrong with a backup, so that retention counts it again')
    .argument('<backup>', 'an id, the unique beginning of one, a label (its newest), or latest', nonEmpty)
    .requiredOption('--reason <TEXT>', 'why it is accepted', nonEmpty)
  addSettings(command, [...REPOSITORY_SETTINGS, 'cluster'])
  return command
    .option('--json', 'print what was acknowledged as JSON')
    .addHelpText(
      'after',
      helpEnd(["pgsluice acknowledge latest --reason 'the table with the corrupt page was dropped'"], COMMON_EXITS),
    )
    .action((backup: string, options: Options & { reason: string }) =>
      start(options, {
        run: async (settings, context) => {
          const { acknowledge } = await import('../commands/acknowledge.js')
          return acknowledge(settings, { backup, reason: options.reason }, context)
        },
        text: async (acknowledged) => (await import('./verify-text.js')).acknowledgeText(acknowledged),
      }),
    )
}

function parseSince(text: string): number {
  const duration = parseDuration(text)
  if (duration === undefined || duration <= 0) throw new InvalidArgumentError('Expected a duration such as 7d.')
  return duration
}
