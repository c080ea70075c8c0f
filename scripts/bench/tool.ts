/** What the bench asks of a backup tool: how to prepare it, and the commands that are measured. */

/** The S3 endpoint that a tool speaks to. */
export interface Site {
  /** `http://…` or `https://…`, without a path. */
  endpoint: string
  bucket: string
  region: string
  /** Who signed the certificate of an https endpoint. */
  caFile: string | undefined
  accessKeyId: string
  secretAccessKey: string
}

/** Where one run happens: nothing of it is used by another run. */
export interface Scene {
  site: Site
  /** Below which everything of this run lies in the bucket; no slash at either end. */
  prefix: string
  /** The data directory that is backed up, or whose WAL is pushed. */
  pgdata: string
  /** libpq's environment of the server; none where only WAL moves. */
  server: Readonly<Record<string, string>> | undefined
  /** A directory of this run that the server's user may write to. */
  work: string
  /** Parallelism of every tool. */
  jobs: number
}

/** What a tool speaks to the bucket. */
export type Transport = 'http' | 'https'

/** One tool, in one way of use. */
export interface Tool {
  name: string
  version: string
  /** Whether it is this project: the others are compared with each other's best. */
  isOurs: boolean
  transport: Transport
  /** Whether its backups land in the bucket; a local file is a yardstick, not a rival. */
  usesBucket: boolean
  /** What it compresses a backup with. */
  compression: string
  /** What differs from the others, for the reader of the table. */
  remark?: string
  /** Whether it can push and fetch WAL ahead of the request, besides one file a call. */
  hasAhead: boolean
  /** The environment of all its commands. */
  environment(scene: Scene): Record<string, string>
  /** What comes before the first use of a repository; not measured. */
  prepare?(scene: Scene): Promise<void>
  /** As `archive_command`, run in the data directory with {@link environment}. */
  archiveCommand(scene: Scene, ahead: boolean): string
  /** As `restore_command`, run likewise. */
  restoreCommand(scene: Scene, ahead: boolean): string
  backup(scene: Scene): string[]
  /** `target` exists and is empty. */
  restore(scene: Scene, target: string): string[]
  /** The same with the tool's own option that lets others of the host go first. Only the phase "friendly" takes it. */
  yielding?: Tool
  /** Whether a restore leaves the settings of recovery to the user; the bench writes them then. */
  leavesRecoveryToUser: boolean
}

/** Prepared scene for commands that read the AWS environment. */
export function awsEnvironment({ site }: Scene): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: site.accessKeyId,
    AWS_SECRET_ACCESS_KEY: site.secretAccessKey,
    AWS_REGION: site.region,
    AWS_DEFAULT_REGION: site.region,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  }
}

/** A word of a POSIX shell. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
