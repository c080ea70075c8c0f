/** `init`: a configuration file for this host, from flags and, on a terminal, from answers. */
import { accessSync, constants } from 'node:fs'
import { dirname } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { SYSTEM_FILE } from '../config/default-files.js'
import { hideSecrets } from '../config/secrets.js'
import { parseSetting, type SettingName } from '../config/settings.js'
import { EXIT_CODES, ToolError } from '../errors.js'
import { askAll, canAsk, type Question } from './ask.js'
import { loadSettings, type Flags } from './config.js'
import { addSettingFlags, COMMON_EXITS, helpEnd, nonEmpty, settingFlags } from './options.js'
import { start, type Options } from './start.js'

/** What is asked for: the rest has defaults that most keep, and stands in the file as comments. */
const ASKED = [
  { name: 'repository', text: 'Where is the repository (s3://bucket/prefix or file:///path)', isNeeded: true },
  { name: 'endpoint', text: 'S3 endpoint (empty: AWS, or what the profile says)' },
  { name: 'region', text: 'S3 region (empty: what AWS_REGION or the profile says)' },
  { name: 'pgdata', text: 'Data directory of the server (empty: what the server says)' },
] as const satisfies readonly { name: SettingName; text: string; isNeeded?: boolean }[]

/** What may come from flags and variables. */
const WRITTEN: readonly SettingName[] = ['repository', 'endpoint', 'region', 'profile', 'dbname', 'pgdata']

const DEFAULT_ROLE = 'backup'

interface InitFlags {
  output?: string
  role?: string
  postgresVersion?: number
}

/** `pgsluice init` */
export function initCommand(): Command {
  const command = new Command('init').description(
    'write a configuration file, and say what the server needs; asks on a terminal for what no flag says',
  )
  addSettingFlags(command, WRITTEN)
  return command
    .option(
      '--output <FILE>',
      'file to write, which must not be there (default: /etc/pgsluice/pgsluice.yaml where its directory is there and can be written, else ./pgsluice.yaml)',
      nonEmpty,
    )
    .option('--role <NAME>', `role that takes backups (default: ${DEFAULT_ROLE})`, nonEmpty)
    .addOption(
      new Option(
        '--postgres-version <N>',
        'major version of the server, for its grants (default: PG_VERSION in the data directory, else both kinds)',
      ).argParser(majorOf),
    )
    .option('--json', 'print the result as JSON; asks nothing')
    .addHelpText(
      'after',
      helpEnd(
        ['pgsluice init', 'pgsluice init --repository s3://backups/main --region eu-central-1 --output pgsluice.yaml'],
        [
          ...COMMON_EXITS.filter(([exit]) => exit !== EXIT_CODES.refused.exit),
          [EXIT_CODES.refused.exit, 'refused: the file is there already'],
        ],
      ),
    )
    .action((options: Options & InitFlags) => {
      const { output = defaultOutput(), role, postgresVersion: major } = options
      const flags = settingFlags(options)
      return start(options, {
        run: async (_, { signal }) => {
          const { checkInit, init } = await import('../commands/init.js')
          const known = await knownValues(flags)
          // before anything is asked, so that no answer was in vain
          await checkInit({ values: known, output })
          const answers = options.json === true || !canAsk() ? {} : await answersFor(known, role, signal)
          const { role: answeredRole = role ?? DEFAULT_ROLE, ...answered } = answers
          const values = { ...known, ...answered }
          if (values.repository === undefined) {
            throw new ToolError('usage', 'no repository is named', {
              hint: 'Give --repository s3://bucket/prefix: questions are asked on a terminal only.',
            })
          }
          return init({ values, output, role: answeredRole, major }, signal)
        },
        text: async (result) => (await import('./init-text.js')).initText(result),
      })
    })
}

/** What flags and variables say. What another configuration file says is its own. */
async function knownValues(flags: Flags): Promise<Partial<Record<SettingName, string>>> {
  const { given } = await loadSettings(flags)
  const values = given
    .filter(({ name, kind }) => kind !== 'file' && WRITTEN.includes(name))
    .map(({ name, value }) => [name, String(value)] as const)
  return Object.fromEntries(values)
}

async function answersFor(
  known: Partial<Record<SettingName, string>>,
  role: string | undefined,
  signal: AbortSignal,
): Promise<Partial<Record<(typeof ASKED)[number]['name'] | 'role', string>>> {
  const settings = ASKED.filter(({ name }) => known[name] === undefined).map((asked) => ({
    ...asked,
    problem: (answer: string) => problemOf(asked.name, answer),
  }))
  const aboutRole: Question & { name: 'role' } = {
    ...{ name: 'role', text: 'Role of the server that takes backups', initial: DEFAULT_ROLE },
    problem: () => undefined,
  }
  return askAll([...settings, ...(role === undefined ? [aboutRole] : [])], signal)
}

function problemOf(name: SettingName, answer: string): string | undefined {
  const result = parseSetting(name, answer)
  if ('problem' in result) return result.problem
  return name === 'endpoint' && hideSecrets(answer) !== answer ? 'secrets belong into ~/.aws/credentials' : undefined
}

function defaultOutput(): string {
  try {
    accessSync(dirname(SYSTEM_FILE), constants.W_OK)
    return SYSTEM_FILE
  } catch {
    return 'pgsluice.yaml'
  }
}

function majorOf(text: string): number {
  if (!/^(1[3-9]|[2-9]\d)$/.test(text)) throw new InvalidArgumentError('Expected a major version such as 17.')
  return Number(text)
}
