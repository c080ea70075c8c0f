/**
 * A cluster that archives into a bucket of an endpoint that can be told to fail, and the command line between the two:
 * what the tests of failing backups play on. After every failure {@link Scene.assertNothingLeft} looks everywhere for
 * what must not be left.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { openStorage } from '#src/storage/open-storage.js'
import { abortStaleUploads } from '#src/storage/stale-uploads.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import { FRONT, startCommand, type CommandOptions, type CommandResult, type RunningCommand } from './command-line.js'
import { availableMajors } from './postgres-binaries.js'
import { query, startCluster, type Cluster, type ClusterOptions } from './postgres.js'
import { S3Endpoint, useTestCredentials } from './s3-endpoint.js'
import { giveToServerUser } from './server-user.js'
import { waitUntil } from './wait.js'

/** How to set the scene. */
export interface SceneOptions extends Partial<Omit<ClusterOptions, 'env'>> {
  /** Bytes of a file in the data directory that does not compress: above 32 MiB its archive is uploaded in parts. */
  fillerBytes?: number
}

const BUCKET = 'backups'

/** See the head of this file. */
export class Scene {
  readonly endpoint: S3Endpoint
  readonly cluster: Cluster
  /** The repository, as `--repository` takes it. */
  readonly repository = `s3://${BUCKET}/main`
  /** What leads to the endpoint and the cluster. */
  readonly env: NodeJS.ProcessEnv

  static async open(options: SceneOptions = {}): Promise<Scene> {
    useTestCredentials()
    const endpoint = await S3Endpoint.start()
    endpoint.createBucket(BUCKET)
    try {
      const { fillerBytes = 0, settings, ...rest } = options
      const push = [FRONT, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
      const cluster = await startCluster({
        major: availableMajors().at(-1)!,
        ...rest,
        env: storeEnvironment(endpoint),
        settings: {
          archive_mode: 'on',
          archive_command: `${push} "%p" --repository s3://${BUCKET}/main`,
          autovacuum: 'off',
          ...settings,
        },
      })
      if (fillerBytes > 0) {
        const filler = path.join(cluster.pgdata, 'filler')
        await writeFile(filler, randomBytes(fillerBytes), { mode: 0o600 })
        await giveToServerUser(filler)
      }
      return new Scene(endpoint, cluster)
    } catch (error) {
      await endpoint.close()
      throw error
    }
  }

  private constructor(endpoint: S3Endpoint, cluster: Cluster) {
    this.endpoint = endpoint
    this.cluster = cluster
    this.env = { ...storeEnvironment(endpoint), ...cluster.env, PGSLUICE_REPOSITORY: this.repository }
  }

  async close(): Promise<void> {
    this.endpoint.clearFaults()
    await this.cluster.destroy()
    await this.endpoint.close()
  }

  /** Starts a command against this cluster and this repository. */
  start(args: readonly string[], options: CommandOptions = {}): Promise<RunningCommand> {
    return startCommand(args, { ...options, env: { ...this.env, ...options.env } })
  }

  async run(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
    return (await this.start(args, options)).ended
  }

  /** Keys of the objects whose key, within the repository, is like that. */
  keys(pattern: RegExp): string[] {
    return this.endpoint
      .keys(BUCKET)
      .map((key) => key.slice('main/'.length))
      .filter((key) => pattern.test(key))
  }

  /** Keys of the backup records: the backups that exist (E9). */
  records(): string[] {
    return this.keys(/\/backups\//)
  }

  async get(key: string): Promise<Buffer | undefined> {
    return this.endpoint.get(BUCKET, `main/${key}`)
  }

  async put(key: string, content: string): Promise<void> {
    await this.endpoint.set(BUCKET, `main/${key}`, Buffer.from(content))
  }

  /** Forgets backups, heartbeats and what was found out about the store, so that the next test begins afresh. */
  tidy(): void {
    this.endpoint.clearFaults()
    Object.assign(this.endpoint.weaknesses, {
      ignoreIfNoneMatch: false,
      ignoreIfNoneMatchOnComplete: false,
      rejectChecksumHeaders: false,
    })
    for (const key of this.keys(/\/(base|backups|running)\/|^profile\//)) this.endpoint.delete(BUCKET, `main/${key}`)
    this.endpoint.requests.length = 0
  }

  /** Waits until the server knows no session but the one that asks. */
  async assertNoSession(): Promise<void> {
    await waitUntil('the sessions of the backup to end', async () => {
      const others = await query(
        this.cluster,
        `select from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()`,
      )
      return others.length === 0
    })
  }

  /** Fails where a backup was committed, an upload is open, or a session lives. */
  async assertNothingLeft(recordsBefore: readonly string[]): Promise<void> {
    this.endpoint.clearFaults()
    assert.deepEqual(this.records(), recordsBefore, 'backup records')
    assert.deepEqual(this.endpoint.openUploads(), [], 'multipart uploads that are open')
    await this.assertNoSession()
  }

  /** Aborts the uploads that a killed backup or a refused abort had to leave; returns how many there were. */
  async abortUploads(): Promise<number> {
    const storage = await openStorage({ url: this.repository, endpoint: this.endpoint.url })
    try {
      const initiatedBefore = new Date(Date.now() + 60_000)
      return (await abortStaleUploads(storage, { initiatedBefore })).length
    } finally {
      storage.close()
    }
  }

  /** A backup that must succeed: what failed before it has not harmed the server. */
  async backUp(args: readonly string[] = []): Promise<{ id: string; record: string }> {
    const before = this.records()
    const { exitCode, stdout, stderr } = await this.run(['backup', '--quiet', ...args])
    assert.equal(exitCode, 0, stderr)
    const [record = '', ...more] = this.records().filter((key) => !before.includes(key))
    assert.deepEqual(more, [])
    return { id: stdout.trim(), record }
  }
}

function storeEnvironment(endpoint: S3Endpoint): NodeJS.ProcessEnv {
  return {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_REGION: 'us-east-1',
    AWS_ENDPOINT_URL_S3: endpoint.url,
    PGSLUICE_CONFIG: '/dev/null',
  }
}
