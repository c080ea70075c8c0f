/**
 * Wrong options, arguments, variables and configuration files: exit 2 and one line that names the value, where it came
 * from and what would be right; and not a byte is written.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openStorage } from '#src/storage/open-storage.js'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { runCommand, whyNoCommandLine } from '../support/command-line.js'
import { commitRecord } from '../support/known-repository.js'
import { giveToServerUser } from '../support/server-user.js'

interface Row {
  name: string
  args: string[]
  env?: NodeJS.ProcessEnv
  /** Text of a configuration file, which --config then names. */
  config?: string
  /** Default 2. */
  exitCode?: number
  says: RegExp[]
}

const backup = (...args: string[]): string[] => ['backup', ...args]
const NONE = { PGSLUICE_REPOSITORY: '' }

/** Each setting with a value that is wrong, and what the message must say of what is right. */
const wrongValues: [setting: string, value: string, right: RegExp][] = [
  ['jobs', '0', /expected a whole number from 1 to 256/],
  ['jobs', '-1', /expected a whole number from 1 to 256/],
  ['jobs', '1.5', /expected a whole number from 1 to 256/],
  ['jobs', 'many', /expected a whole number from 1 to 256/],
  ['memory', '1kB', /expected a size from 96MiB to 1024GiB, such as 128MiB/],
  ['memory', '128 bananas', /expected a size/],
  ['compression-level', '20', /expected a whole number from 1 to 19/],
  ['checksum', 'MD5', /expected CRC32C or SHA256/],
  ['archive-timeout', '5', /expected a duration such as 10min/],
  ['archive-timeout', '0s', /expected a duration such as 10min/],
  ['request-timeout', 'soon', /expected a duration such as 60s/],
  ['max-attempts', '0', /expected a whole number from 1 to 100/],
  ['endpoint', 'ftp://somewhere', /expected an http:\/\/ or https:\/\/ URL/],
  ['path-style', 'perhaps', /expected true or false/],
]

const SOURCES = ['flag', 'variable', 'file'] as const

/** The same mistake from a flag, from the environment and from a file, by turns. */
const values: Row[] = wrongValues.map(([setting, value, right], index) => {
  const source = SOURCES[index % 3]!
  const quoted = JSON.stringify(value).replace(/[/.]/g, '\\$&')
  const named = `wrong value (${quoted}|${value}) for "${setting}"`
  if (source === 'flag') {
    const says = [new RegExp(`${named} \\(--${setting}\\): `), right]
    return { name: `--${setting} ${value}`, args: backup(`--${setting}`, value), says }
  }
  if (source === 'variable') {
    const variable = `PGSLUICE_${setting.replaceAll('-', '_').toUpperCase()}`
    const says = [new RegExp(`${named} \\(${variable}\\): `), right]
    return { name: `${variable}=${value}`, args: backup(), env: { [variable]: value }, says }
  }
  const says = [new RegExp(`${named} \\([^)]*config\\.yaml:2\\): `), right]
  return { name: `${setting}: ${value} in a file`, args: backup(), config: `# one line\n${setting}: ${value}\n`, says }
})

const urls: Row[] = [
  'http://bucket/x',
  's3:/bucket',
  's3://',
  's3://bucket/../x',
  'file://relative/path',
  '/srv/backups',
  'bucket',
].map((url) => ({
  name: `--repository ${url}`,
  args: ['list', '--repository', url],
  says: [/^pgsluice: .*s3:\/\/bucket\/prefix or file:\/\/\/path/m, new RegExp(url.replace(/[.]/g, '\\.'))],
}))

const rows: Row[] = [
  ...values,
  ...urls,
  {
    name: 'no repository',
    args: ['list'],
    env: NONE,
    says: [/no repository is named\nHINT: Give --repository s3:\/\//],
  },
  {
    name: 'a secret in a URL, which is not repeated',
    args: ['list', '--repository', 's3://key:s3cr3t@bucket'],
    says: [/wrong value "s3:\/\/\*\*\*@bucket" for "repository" \(--repository\): expected s3:/],
  },
  {
    name: 'the same from the environment, named with its variable',
    args: ['list'],
    env: { PGSLUICE_REPOSITORY: 's3://key:s3cr3t@bucket' },
    says: [/wrong value "s3:\/\/\*\*\*@bucket" for "repository" \(PGSLUICE_REPOSITORY\): expected s3:/],
  },
  {
    name: 'a repository in a file that is no URL, named with its line',
    args: ['list'],
    env: NONE,
    config: 'jobs: 1\nrepository: backups/main\n',
    says: [/wrong value "backups\/main" for "repository" \([^)]*config\.yaml:2\): expected s3:/],
  },
  {
    name: 'a misspelt variable',
    args: ['list'],
    env: { PGSLUICE_REPOSTORY: 's3://other' },
    says: [/unknown environment variable "PGSLUICE_REPOSTORY"\nHINT: Did you mean PGSLUICE_REPOSITORY\?/],
  },
  {
    name: 'a variable that is nothing like a setting',
    args: ['list'],
    env: { PGSLUICE_GREETING: 'hello' },
    says: [/unknown environment variable "PGSLUICE_GREETING"\nHINT: Unset it/],
  },
  {
    name: 'a misspelt variable, of wal push, is told and goes no further',
    args: ['wal', 'push', 'pg_wal/notes.txt'],
    env: { PGSLUICE_JOSB: '2' },
    says: [
      /unknown environment variable "PGSLUICE_JOSB"/,
      /PGSLUICE_JOBS/,
      /"notes\.txt" is not the name of a WAL file/,
    ],
  },
  {
    name: 'a flag with two values',
    args: backup('--jobs', '1', '--jobs', '2'),
    says: [/option '--jobs <N>' argument '2' is invalid\. It is given twice, with two values/],
  },
  {
    name: 'an unknown command',
    args: ['bakcup'],
    says: [/unknown command 'bakcup'/, /Did you mean backup\?/, /see --help/],
  },
  { name: 'no command', args: [], says: [/Usage: pgsluice/] },
  { name: 'an unknown option', args: backup('--lable', 'x'), says: [/unknown option '--lable'/, /--label/] },
  { name: 'an option without its value', args: backup('--label'), says: [/option '--label <LABEL>' argument missing/] },
  { name: 'an argument too many', args: ['list', 'everything'], says: [/too many arguments/] },
  { name: 'show without a backup', args: ['show'], says: [/missing required argument 'backup'/] },
  {
    name: 'restore without --target-dir',
    args: ['restore'],
    says: [/required option '--target-dir <DIR>' not specified/],
  },
  { name: '--checkpoint slow', args: backup('--checkpoint', 'slow'), says: [/'slow' is invalid.*fast, spread/] },
  {
    name: '--archive-mode on',
    args: ['restore', '--target-dir', 't', '--archive-mode', 'on'],
    says: [/'on' is invalid.*off, preserve/],
  },
  ...['/a', 'a=b', '/a=', '=/b', '/a=b'].map((mapping) => ({
    name: `--tablespace-mapping ${mapping}`,
    args: ['restore', '--target-dir', 't', '--tablespace-mapping', mapping],
    says: [
      new RegExp(`wrong value "${mapping}" for --tablespace-mapping: (expected OLD=NEW|both directories must be)`),
    ],
  })),
  {
    name: 'more jobs than the memory allows',
    args: backup('--jobs', '64', '--memory', '128MiB'),
    says: [
      /64 jobs need \d+MiB of memory, and --memory allows 128MiB \(jobs: --jobs, memory: --memory\)\nHINT: Lower --jobs or raise --memory/,
    ],
  },
  {
    name: 'an unknown setting in a file',
    args: ['list'],
    config: 'repository: file:///x\n\njosb: 4\n',
    says: [/unknown setting "josb" \([^)]*config\.yaml:3\)/, /HINT: Did you mean "jobs"\?/],
  },
  {
    name: 'a setting that is nothing like one',
    args: ['list'],
    config: 'greeting: hello\n',
    says: [/unknown setting "greeting" \([^)]*config\.yaml:1\)/, /HINT: There are: repository, /],
  },
  {
    name: 'a file that is no YAML',
    args: ['list'],
    config: 'repository: "file:///x\njobs: 4\n',
    says: [/config\.yaml" is no valid YAML: .*(line|quote)/],
  },
  { name: 'a file that holds a list', args: ['list'], config: '- jobs\n', says: [/config\.yaml" must hold settings/] },
  {
    name: 'a setting that is a list',
    args: backup(),
    config: 'jobs: [1, 2]\n',
    says: [/for "jobs" \([^)]*config\.yaml:1\)/],
  },
  {
    name: 'a setting that is there twice',
    args: backup(),
    config: 'jobs: 1\njobs: 2\n',
    says: [/config\.yaml.*unique/],
  },
  {
    name: 'a file that is not there',
    args: ['list', '--config', '/no/such/file.yaml'],
    says: [/could not read the configuration file "\/no\/such\/file\.yaml": ENOENT/],
  },
  {
    name: 'a file that is a directory, from the environment',
    args: ['list'],
    env: { PGSLUICE_CONFIG: '/' },
    says: [/could not read the configuration file "\/": EISDIR/],
  },
  {
    name: 'a backup that does not exist',
    args: ['show', 'nightly', '--cluster', 'first'],
    says: [/no backup of cluster "pg18-\d+" has the id or label "nightly"\nHINT: The newest are: 2026/],
  },
  {
    name: 'the beginning of two backups',
    args: ['show', '202601', '--cluster', 'first'],
    says: [/"202601" is the beginning of 2 backups\nHINT: Name one of: 20260101T\S+, 20260102T/],
  },
  {
    name: 'no cluster where there are two',
    args: ['show', 'latest'],
    says: [/holds 2 clusters\nHINT: Name one with --cluster: pg18-\d+ \(first\), pg18-\d+ \(second\)/],
  },
  {
    name: 'a cluster that does not exist',
    args: ['list', '--cluster', 'third'],
    says: [/no cluster in "[^"]+" is named "third"\nHINT: There are: pg18-\d+ \(first\)/],
  },
  {
    name: 'wal push of what is no WAL file',
    args: ['wal', 'push', 'pg_wal/notes.txt'],
    says: [/"notes\.txt" is not the name of a WAL file\nHINT: Expected a segment/],
  },
  {
    name: 'wal push outside a data directory',
    args: ['wal', 'push', '/etc/000000010000000000000001'],
    says: [/"\/" is no data directory: ENOENT[^]*HINT: PostgreSQL runs the WAL commands in its data directory/],
  },
  {
    name: 'wal fetch of what is no WAL file, which is not the end of WAL (G1)',
    args: ['wal', 'fetch', 'notes.txt', 'x'],
    exitCode: 200,
    says: [/"notes\.txt" is not the name of a WAL file/],
  },
  {
    name: 'wal fetch without a destination (G1)',
    args: ['wal', 'fetch', 'x'],
    exitCode: 200,
    says: [/missing required/],
  },
  {
    name: 'wal fetch with an unknown option (G1)',
    args: ['wal', 'fetch', '--fast'],
    exitCode: 200,
    says: [/unknown option/],
  },
]

const obstacle = await whyNoCommandLine()

describe('bad input', { skip: obstacle ?? false, concurrency: 2 }, () => {
  let home: string
  let url: string
  let content: string[]
  const filesOf = (): string[] => readdirSync(path.join(home, 'repository'), { recursive: true }).map(String).sort()

  before(async () => {
    home = newHome()
    mkdirSync(path.join(home, 'repository'))
    url = `file://${home}/repository`
    const storage = await openStorage({ url })
    await commitRecord(storage, { id: '20260101T000000Z-00000001', alias: 'first' })
    await commitRecord(storage, { id: '20260102T000000Z-00000002', alias: 'first' })
    await commitRecord(storage, {
      id: '20260102T000000Z-00000003',
      alias: 'second',
      systemIdentifier: 7_412_345_678_901_234_568n,
    })
    storage.close()
    await giveToServerUser(home)
    content = filesOf()
  })
  after(() => removeHome(home))

  for (const [index, { name, args, env = {}, config, exitCode = 2, says }] of rows.entries()) {
    test(`${name} ends with ${exitCode} and one line that says why`, async () => {
      const directory = path.join(home, `config-${index}`)
      const configFile = path.join(directory, 'config.yaml')
      mkdirSync(directory, { mode: 0o755 })
      if (config !== undefined) writeFileSync(configFile, config)
      chmodSync(directory, 0o755)
      const result = await runCommand(args, {
        env: {
          PGSLUICE_REPOSITORY: url,
          PGSLUICE_CONFIG: config === undefined ? '/dev/null' : configFile,
          // nobody must be asked: where the mistake is overlooked, this is what shows
          PGHOST: '/no/such/directory',
          ...env,
        },
      })
      assert.equal(result.exitCode, exitCode, result.stderr)
      assert.equal(result.stdout, '')
      for (const text of says) assert.match(result.stderr, text)
      assert.doesNotMatch(result.stderr, /unexpected error|^\s+at |s3cr3t|could not connect/m)
      assert.deepEqual(filesOf(), content, 'the repository is as it was')
    })
  }
})
