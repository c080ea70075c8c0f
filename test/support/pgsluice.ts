/**
 * Repositories to back up to, and the steps between a cluster and its restored copy that most tests take: settings that
 * archive, waiting for WAL, the restore, the start of the copy. The commands themselves run in command-line.ts.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { CreateBucketCommand, DeleteBucketCommand, GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { DeleteObjectCommand, paginateListObjectsV2 } from '@aws-sdk/client-s3'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { newHome, removeHome } from './cluster-registry.js'
import { FRONT, runCommand, startCommand } from './command-line.js'
import type { CommandOptions, CommandResult, RunningCommand } from './command-line.js'
import { query, startCluster, type Cluster, type ClusterOptions } from './postgres.js'
import { S3Endpoint } from './s3-endpoint.js'
import { giveToServerUser } from './server-user.js'
import { waitUntil } from './wait.js'

/** What leads to a repository. */
export interface Reachable {
  /** As `--repository` takes it. */
  url: string
  /** All that a command or a server needs to reach it, PGSLUICE_REPOSITORY included. */
  env: NodeJS.ProcessEnv
}

/** Somewhere that backups go to. Keys are relative to the repository. */
export interface Repository extends Reachable, AsyncDisposable {
  keys(): Promise<string[]>
  get(key: string): Promise<Buffer>
}

/** A repository in an S3 endpoint of this process, which can be told to fail. */
export interface EndpointRepository extends Repository {
  endpoint: S3Endpoint
  set(key: string, bytes: Uint8Array): Promise<void>
  delete(key: string): void
}

/** Of the bucket in every endpoint of {@link openEndpointRepository}. */
export const BUCKET = 'backups'
const PREFIX = 'some/prefix'

/** A test that breaks something does not wait for it to be mended. */
const IMPATIENT = { PGSLUICE_RETRY_TIME: '1s' }

/** An environment in which nothing of this machine's AWS configuration decides anything. */
function awsEnvironment(url: string, endpoint: string): NodeJS.ProcessEnv {
  return {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_REGION: 'us-east-1',
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_PROFILE: undefined,
    AWS_SESSION_TOKEN: undefined,
    AWS_ENDPOINT_URL: undefined,
    PGSLUICE_CONFIG: '/dev/null',
    PGSLUICE_REPOSITORY: url,
    ...IMPATIENT,
  }
}

/** Opens a repository in an S3 endpoint of this process. */
export async function openEndpointRepository(): Promise<EndpointRepository> {
  const endpoint = await S3Endpoint.start()
  endpoint.createBucket(BUCKET)
  const url = `s3://${BUCKET}/${PREFIX}`
  const place = (key: string): string => `${PREFIX}/${key}`
  return {
    url,
    env: awsEnvironment(url, endpoint.url),
    endpoint,
    keys: () => Promise.resolve(endpoint.keys(BUCKET).map((key) => key.slice(PREFIX.length + 1))),
    get: async (key) => found(key, await endpoint.get(BUCKET, place(key))),
    set: (key, bytes) => endpoint.set(BUCKET, place(key), bytes),
    delete: (key) => endpoint.delete(BUCKET, place(key)),
    [Symbol.asyncDispose]: () => endpoint.close(),
  }
}

/** A repository in the bucket of an endpoint that runs elsewhere; to be looked into only by commands. */
export function repositoryAt(endpoint: string): Reachable {
  const url = `s3://${BUCKET}/${PREFIX}`
  return { url, env: awsEnvironment(url, endpoint) }
}

/** Opens a repository in a directory that belongs to the servers' user; `directory` is where its objects lie as files. */
export async function openDirectoryRepository(): Promise<Repository & { directory: string }> {
  const home = newHome()
  const directory = path.join(home, 'repository')
  mkdirSync(directory)
  await giveToServerUser(home)
  const url = pathToFileURL(directory).href
  return {
    url,
    directory,
    env: { PGSLUICE_CONFIG: '/dev/null', PGSLUICE_REPOSITORY: url, ...IMPATIENT },
    keys: () => Promise.resolve(filesBelow(directory)),
    get: (key) => Promise.resolve(readFileSync(path.join(directory, key))),
    [Symbol.asyncDispose]: () => {
      removeHome(home)
      return Promise.resolve()
    },
  }
}

/** Opens a repository in a bucket of its own in a real S3 server, with the credentials of the environment. */
export async function openRealRepository(endpoint: string): Promise<Repository> {
  const Bucket = `pgsluice-test-${randomBytes(6).toString('hex')}`
  const client = new S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1' })
  await client.send(new CreateBucketCommand({ Bucket }))
  const url = `s3://${Bucket}/${PREFIX}`
  const inherited = Object.entries(process.env).filter(([name]) => name.startsWith('AWS_'))
  const keys = async (): Promise<string[]> => {
    const found: string[] = []
    for await (const page of paginateListObjectsV2({ client }, { Bucket })) {
      for (const { Key = '' } of page.Contents ?? []) found.push(Key.slice(PREFIX.length + 1))
    }
    return found
  }
  return {
    url,
    env: {
      ...Object.fromEntries(inherited),
      AWS_ENDPOINT_URL_S3: endpoint,
      AWS_REGION: 'us-east-1',
      PGSLUICE_CONFIG: '/dev/null',
      PGSLUICE_REPOSITORY: url,
      ...IMPATIENT,
    },
    keys,
    get: async (key) => {
      const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: `${PREFIX}/${key}` }))
      return Buffer.from((await Body?.transformToByteArray()) ?? found(key, undefined))
    },
    [Symbol.asyncDispose]: async () => {
      for (const key of await keys()) await client.send(new DeleteObjectCommand({ Bucket, Key: `${PREFIX}/${key}` }))
      await client.send(new DeleteBucketCommand({ Bucket }))
      client.destroy()
    },
  }
}

/** The S3 servers that PGSLUICE_TEST_S3_ENDPOINTS names. */
export function realEndpoints(): string[] {
  return (process.env['PGSLUICE_TEST_S3_ENDPOINTS'] ?? '').split(',').filter((endpoint) => endpoint !== '')
}

/** Runs `pgsluice` against a repository, and a cluster where one is named. */
export async function pgsluice(
  args: readonly string[],
  repository: Reachable,
  options: CommandOptions & { cluster?: Cluster } = {},
): Promise<CommandResult> {
  return runCommand(args, commandOptions(repository, options))
}

/** Starts `pgsluice` as {@link pgsluice} does, and leaves it running. */
export async function startPgsluice(
  args: readonly string[],
  repository: Reachable,
  options: CommandOptions & { cluster?: Cluster } = {},
): Promise<RunningCommand> {
  return startCommand(args, commandOptions(repository, options))
}

function commandOptions(repository: Reachable, options: CommandOptions & { cluster?: Cluster }): CommandOptions {
  const { cluster, env, ...rest } = options
  return { ...rest, env: { ...repository.env, ...cluster?.env, ...env } }
}

/** Runs a command that must succeed. */
export async function succeed(...call: Parameters<typeof pgsluice>): Promise<CommandResult> {
  const result = await pgsluice(...call)
  assert.equal(result.exitCode, 0, `${call[0].join(' ')}: ${result.stdout}${result.stderr}`)
  return result
}

/** Settings that archive WAL; the server gets the repository's `env` for its archive_command. */
function archiveSettings(repository: Reachable, front = FRONT): { archive_mode: string; archive_command: string } {
  const push = [front, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
  return { archive_mode: 'on', archive_command: `${push} "%p" --repository ${quoteShell(repository.url)}` }
}

/** Starts a fresh cluster that archives into a repository. */
export async function startArchivingCluster(repository: Reachable, options: ClusterOptions): Promise<Cluster> {
  const settings = { ...archiveSettings(repository), ...options.settings }
  return startCluster({ ...options, settings, env: { ...repository.env, ...options.env } })
}

/** The name of a cluster's part of the repository. */
export async function nameOf(cluster: Cluster): Promise<string> {
  const [row] = await query<{ id: string }>(cluster, 'select system_identifier::text as id from pg_control_system()')
  return `pg${cluster.major}-${row!.id}`
}

/** The segment that is being written. */
async function currentSegment(cluster: Cluster): Promise<string> {
  const sql = 'select pg_walfile_name(pg_current_wal_insert_lsn()) as name'
  return (await query<{ name: string }>(cluster, sql))[0]!.name
}

/** Ends the current segment, waits until the server has it archived, and sees it in the repository. Returns its name. */
export async function archiveWal(cluster: Cluster, repository: Repository): Promise<string> {
  // Something in the segment, since a switch in an empty one does nothing.
  await query(cluster, `select pg_logical_emit_message(false, 'test', 'something')`)
  const segment = await currentSegment(cluster)
  await query(cluster, 'select pg_switch_wal()')
  await waitUntil(
    `"${segment}" to be archived`,
    async () => {
      // a connection each: it wakes the postmaster, which starts an archiver that a signal has ended
      const sql = 'select last_archived_wal as last from pg_stat_archiver'
      return ((await query<{ last: string | null }>(cluster, sql))[0]!.last ?? '') >= segment
    },
    // after three failures the archiver rests for a minute
    150_000,
  )
  const keys = await repository.keys()
  assert.ok(
    keys.some((key) => key.endsWith(`/${segment}.zst`)),
    `the server says that "${segment}" is archived, and it is not in the repository`,
  )
  return segment
}

/** Waits until the server has archived all that it has marked as ready. */
export async function awaitAllArchived(cluster: Cluster, timeoutMs?: number): Promise<void> {
  const status = path.join(cluster.pgdata, 'pg_wal/archive_status')
  const isDone = (): boolean => readdirSync(status).every((name) => !name.endsWith('.ready'))
  await waitUntil('all to be archived', isDone, timeoutMs)
}

/** A directory for restored clusters that the servers' user may write to. */
export async function openWorkplace(): Promise<{ directory: string; at: (name: string) => string } & Disposable> {
  const directory = newHome()
  await giveToServerUser(directory)
  return { directory, at: (name) => path.join(directory, name), [Symbol.dispose]: () => removeHome(directory) }
}

/** Starts a restored cluster and waits for the end of its recovery. */
export async function startRestored(
  major: number,
  directory: string,
  repository: Repository,
  options: Partial<ClusterOptions> = {},
): Promise<Cluster> {
  const cluster = await startCluster({ major, directory, ...options, env: { ...repository.env, ...options.env } })
  try {
    await awaitPromotion(cluster)
    return cluster
  } catch (error) {
    await cluster.destroy()
    throw error
  }
}

/** Waits until a server is out of recovery; rejects with its log when it ends instead. */
export async function awaitPromotion(cluster: Cluster): Promise<void> {
  await waitUntil('the end of recovery', async () => {
    if (cluster.pid === undefined) throw new Error(`the server ended in recovery:\n${cluster.logTail()}`)
    return (await query<{ over: boolean }>(cluster, 'select not pg_is_in_recovery() as over'))[0]!.over
  })
}

/** Removes a data directory as its loss would, once its server is down. */
export function loseDirectory(cluster: Cluster): void {
  assert.equal(cluster.pid, undefined)
  rmSync(cluster.pgdata, { recursive: true })
}

/** As if all objects of a repository in a directory had been stored an hour ago: what is missing then is no more on its way. */
export function makeOld(directory: string): void {
  const hourAgo = Date.now() / 1000 - 3600
  for (const name of filesBelow(directory)) utimesSync(path.join(directory, name), hourAgo, hourAgo)
}

/** Paths of all files below a directory, relative to it, sorted; what is no regular file is left out. */
export function filesBelow(directory: string): string[] {
  return (
    readdirSync(directory, { recursive: true, encoding: 'utf8' })
      // a temporary name may be gone by now
      .filter((name) => statSync(path.join(directory, name), { throwIfNoEntry: false })?.isFile() === true)
      .sort()
  )
}

function found(key: string, bytes: Buffer | undefined): Buffer {
  if (bytes === undefined) throw new Error(`"${key}" is not in the repository`)
  return bytes
}
