/** `wal push` and `wal fetch`, which PostgreSQL calls through the shell front, and `wal list`. */
import { Command } from 'commander'
import type { SettingName } from '../config/settings.js'
import { ToolError } from '../errors.js'
import { frontPlace } from './config.js'
import { EXIT_CODES, EXIT_UNFINISHED } from '../errors.js'
import { addSettings, ANSWER_NO, COMMON_EXITS, FETCH_EXITS, helpEnd, nonEmpty, REPOSITORY_SETTINGS } from './options.js'
import { startFetchAhead } from './start-ahead.js'
import { start, type Options } from './start.js'

/** `pgsluice wal …` */
export function walCommand(): Command {
  return new Command('wal')
    .description('the WAL archive')
    .addCommand(pushCommand())
    .addCommand(fetchCommand())
    .addCommand(fetchAheadCommand(), { hidden: true })
    .addCommand(listCommand())
}

function pushCommand(): Command {
  const push = new Command('push')
    .description(`archive one WAL file: archive_command = 'pgsluice-wal push "%p"'`)
    .argument('<path>', 'the file, as PostgreSQL passes it with %p', nonEmpty)
  addSettings(push, [...REPOSITORY_SETTINGS, 'pgdata', 'compression-level', 'push-ahead'])
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
        run: async (settings, context) =>
          (await import('../commands/wal-push.js')).walPush(settings, path, context, frontPlace()),
      }),
    )
  return push
}

const FETCH_SETTINGS: readonly SettingName[] = [
  ...REPOSITORY_SETTINGS,
  'cluster',
  'pgdata',
  'fetch-ahead',
  'retry-time',
]

/** What `wal fetch` starts; nobody else has a use for it. */
function fetchAheadCommand(): Command {
  const command = new Command('fetch-ahead').argument('<name>', 'the segment before the first one wanted', nonEmpty)
  addSettings(command, FETCH_SETTINGS)
  return command.action((name: string, options: Options) =>
    start(options, {
      rules: 'fetch-ahead',
      run: async (settings, context) => {
        const place = frontPlace()
        if (place === undefined) throw new ToolError('usage', 'only "wal fetch" starts this command')
        return (await import('../commands/fetch-ahead.js')).fetchAhead(settings, name, place, context)
      },
    }),
  )
}

function fetchCommand(): Command {
  const fetch = new Command('fetch')
    .description(`fetch one WAL file: restore_command = 'pgsluice-wal fetch %f "%p"'`)
    .argument('<name>', 'the file wanted, as PostgreSQL passes it with %f', nonEmpty)
    .argument('<destination>', 'where to put it, as PostgreSQL passes it with %p', nonEmpty)
  addSettings(fetch, FETCH_SETTINGS)
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
        run: async (settings, context) => {
          const { walFetch } = await import('../commands/wal-fetch.js')
          const place = frontPlace()
          const ahead = place === undefined ? undefined : { place, start: () => startFetchAhead(name) }
          return walFetch(settings, name, destination, context, ahead)
        },
      }),
    )
  return fetch
}

function listCommand(): Command {
  const list = new Command('list').description('what the WAL archive holds, and whether a backup lacks some of it')
  addSettings(list, [...REPOSITORY_SETTINGS, 'cluster'])
  list
    .option('--json', 'print it as JSON')
    .addHelpText('after', helpEnd(['pgsluice wal list', 'pgsluice wal list --json'], [...COMMON_EXITS, ANSWER_NO]))
    .action((options: Options) =>
      start(options, {
        run: async (settings, context) => (await import('../commands/wal-list.js')).walList(settings, context),
        text: async (clusters) => (await import('./wal-text.js')).walListText(clusters),
        json: (clusters) => ({ clusters }),
        exitCode: (clusters) => {
          if (clusters.some(({ isDamaged }) => isDamaged)) return EXIT_CODES['answer-no'].exit
          return clusters.every(({ unreadable }) => unreadable.length === 0) ? 0 : EXIT_UNFINISHED
        },
      }),
    )
  return list
}
