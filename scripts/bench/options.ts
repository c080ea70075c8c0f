/** The command line of the bench. */
import { parseArgs } from 'node:util'
import { parseSize } from '#src/config/quantities.js'

/** What was asked for. */
export interface BenchOptions {
  size: number
  major: number
  rounds: number
  jobs: number
  phases: ReadonlySet<Phase>
  segments: number
  /** Of the clusters of the phase "scaling", in bytes. */
  sizes: number[]
  /** Small files of the phase "many". */
  files: number
  /** Of pgbench in the phase "friendly". */
  clients: number
  /** Its transactions a second. */
  rate: number
  /** Its seconds without a backup, ahead of each. */
  before: number
  /** Of its sparse table, in bytes. */
  table: number
  tools: readonly string[] | undefined
  versitygw: string | undefined
  endpoint: string | undefined
  bucket: string
  pgbackrest: string | undefined
  walG: string | undefined
  barman: string | undefined
  aws: string | undefined
  out: string
  render: string | undefined
  into: string | undefined
  help: boolean
}

/** What can be measured by itself. */
export type Phase = (typeof PHASES)[number]

export const USAGE = `usage: npm run bench -- [options]

  --size SIZE         of the cluster (default 4GB)
  --major N           of PostgreSQL (default 15, the newest that Debian's pgBackRest knows)
  --rounds N          (default 3)
  --jobs N            parallelism of every tool (default 2)
  --only LIST         of backup,wal,recovery,sink,stages,scaling,many,friendly (default backup,wal,stages);
                      backup is with restore, recovery is of a server that fetches --segments, friendly is the
                      latency that a load of pgbench has during a backup
  --all               everything: backups into a bucket that costs nothing, and several sizes, too
  --sizes LIST        of the clusters of "scaling" (default 1GB,4GB,16GB)
  --files N           small files of "many" (default 1000000)
  --table SIZE        of its table that is all holes (default 40GB)
  --clients N         of pgbench in "friendly" (default 8)
  --rate N            its transactions a second, of all clients (default 200): what it cannot keep up is a failure
  --before SECONDS    of it without a backup, ahead of each (default 30)
  --segments N        WAL segments of the large push (default 100)
  --tools LIST        only tools whose names begin so, such as pgsluice,WAL-G
  --versitygw PATH    the S3 server (default: versitygw of PATH)
  --endpoint URL      another S3 server, with the keys of the AWS environment and --bucket
  --bucket NAME       a bucket that is there (default bench)
  --pgbackrest PATH   (default: pgbackrest of PATH)
  --wal-g PATH        (default: wal-g of PATH)
  --barman DIRECTORY  where barman-cloud-backup is (default: that of PATH)
  --aws PATH          (default: aws of PATH)
  --out PATH          results are PATH.json and PATH.md (default build/benchmark-results)
  --render PATH       makes PATH.md from PATH.json once more, and nothing else
  --into FILE         with --render: puts the tables between the bench markers of a page, too
  --help
`
const PHASES = ['backup', 'wal', 'recovery', 'sink', 'stages', 'scaling', 'many', 'friendly'] as const
/** Throws with a sentence for the user where something is wrong. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      size: text,
      major: text,
      rounds: text,
      jobs: text,
      only: text,
      all: { type: 'boolean' },
      sizes: text,
      files: text,
      clients: text,
      rate: text,
      before: text,
      table: text,
      segments: text,
      tools: text,
      versitygw: text,
      endpoint: text,
      bucket: text,
      pgbackrest: text,
      'wal-g': text,
      barman: text,
      aws: text,
      out: text,
      render: text,
      into: text,
      help: { type: 'boolean' },
    },
  })
  const names = (values.only ?? 'backup,wal,stages').split(',')
  const phases = new Set<Phase>(values.all === true ? PHASES : [])
  for (const name of names) {
    const phase = PHASES.find((one) => one === name)
    if (phase === undefined) throw new Error(`--only "${name}" is none of ${PHASES.join(', ')}`)
    phases.add(phase)
  }
  return {
    size: bytes('size', values.size ?? '4GB'),
    sizes: (values.sizes ?? '1GB,4GB,16GB').split(',').map((text) => bytes('sizes', text)),
    files: whole('files', values.files ?? '1000000'),
    clients: whole('clients', values.clients ?? '8'),
    rate: whole('rate', values.rate ?? '200'),
    before: whole('before', values.before ?? '30'),
    table: bytes('table', values.table ?? '40GB'),
    major: whole('major', values.major ?? '15'),
    rounds: whole('rounds', values.rounds ?? '3'),
    jobs: whole('jobs', values.jobs ?? '2'),
    phases,
    segments: whole('segments', values.segments ?? '100'),
    tools: values.tools?.split(','),
    versitygw: values.versitygw,
    endpoint: values.endpoint,
    bucket: values.bucket ?? 'bench',
    pgbackrest: values.pgbackrest,
    walG: values['wal-g'],
    barman: values.barman,
    aws: values.aws,
    out: values.out ?? 'build/benchmark-results',
    render: values.render,
    into: values.into,
    help: values.help ?? false,
  }
}

function bytes(name: string, text: string): number {
  const size = parseSize(text)
  if (size === undefined) throw new Error(`--${name} "${text}" is no size such as 4GB`)
  return size
}

function whole(name: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${name} "${text}" is no whole number from 1`)
  return Number(text)
}
