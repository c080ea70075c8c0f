/**
 * A small backup in a repository that is a directory, where tests can damage each object and put it back; and restores
 * of it within this process, which take a fraction of the time of the command line.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { exitCodeOf, describeError } from '#src/cli/exit.js'
import { restore, type RestoreOptions } from '#src/commands/restore.js'
import { makeSettings } from '#src/config/settings.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
import type { Report } from '#src/report.js'
import { newHome, removeHome } from './cluster-registry.js'
import { FRONT, runCommand } from './command-line.js'
import { availableMajors } from './postgres-binaries.js'
import { startCluster, type Cluster } from './postgres.js'
import { giveToServerUser } from './server-user.js'

/** How a restore ended. */
export interface RestoreEnd {
  exitCode: number
  message: string
}

/** See the head of this file. */
export class FileRepository {
  /** A directory that this object owns: the repository, targets, whatever a test needs. */
  readonly home: string
  /** The repository's directory. */
  readonly directory: string
  readonly url: string
  /** Oldest first. */
  readonly backups: BackupRecord[] = []
  #targets = 0

  static async create(): Promise<FileRepository> {
    const home = newHome()
    const repository = new FileRepository(home)
    mkdirSync(repository.directory)
    await giveToServerUser(home)
    return repository
  }

  private constructor(home: string) {
    this.home = home
    this.directory = path.join(home, 'repository')
    this.url = pathToFileURL(this.directory).href
  }

  /** Starts a cluster that archives into this repository. */
  async startCluster(options: { ownInitdb?: boolean; walSegmentSizeMb?: number } = {}): Promise<Cluster> {
    const push = [FRONT, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
    return startCluster({
      major: availableMajors().at(-1)!,
      ...options,
      env: { PGSLUICE_CONFIG: '/dev/null' },
      settings: { archive_mode: 'on', archive_command: `${push} "%p" --repository ${quoteShell(this.url)}` },
    })
  }

  /** Takes a backup of it. */
  async backUp(cluster: Cluster): Promise<BackupRecord> {
    const args = ['backup', '--json', '--jobs', '1', '--repository', this.url]
    const { exitCode, stderr, lines } = await runCommand(args, {
      env: { ...cluster.env, PGSLUICE_CONFIG: '/dev/null' },
    })
    assert.equal(exitCode, 0, stderr)
    const last = lines.at(-1)
    assert.ok(last?.type === 'result')
    const record = last.backup as unknown as BackupRecord
    this.backups.push(record)
    return record
  }

  /** Keys of all objects, sorted. */
  keys(folder = ''): string[] {
    return readdirSync(path.join(this.directory, folder), { withFileTypes: true })
      .flatMap((entry) => {
        const key = folder === '' ? entry.name : `${folder}/${entry.name}`
        return entry.isDirectory() ? this.keys(key) : [key]
      })
      .sort()
  }

  file(key: string): string {
    return path.join(this.directory, key)
  }

  read(key: string): Buffer {
    return readFileSync(this.file(key))
  }

  /** Does `work` while objects hold other bytes (undefined: while they are missing), and puts them back. */
  async damaged<T>(changes: Readonly<Record<string, Uint8Array | undefined>>, work: () => Promise<T>): Promise<T> {
    const before = Object.keys(changes).map((key) => {
      return { key, bytes: existsSync(this.file(key)) ? this.read(key) : undefined }
    })
    try {
      for (const [key, bytes] of Object.entries(changes)) this.#write(key, bytes)
      return await work()
    } finally {
      for (const { key, bytes } of before) this.#write(key, bytes)
    }
  }

  #write(key: string, bytes: Uint8Array | undefined): void {
    if (bytes === undefined) rmSync(this.file(key), { force: true })
    else {
      mkdirSync(path.dirname(this.file(key)), { recursive: true })
      writeFileSync(this.file(key), bytes)
    }
  }

  /** A place for a restore that nothing is at. */
  newTarget(): string {
    return path.join(this.home, `target-${++this.#targets}`)
  }

  /**
   * Restores into a new target, every other time one that exists and is empty. Proves that a failed restore left the
   * target as it was.
   */
  async restore(options: Partial<RestoreOptions> = {}, report: Report = () => undefined): Promise<RestoreEnd> {
    const targetDirectory = options.targetDirectory ?? this.newTarget()
    const isThere = this.#targets % 2 === 0 && options.targetDirectory === undefined
    if (isThere) mkdirSync(targetDirectory, { mode: 0o700 })
    const settings = makeSettings({ repository: this.url, cluster: this.backups[0]!.cluster, jobs: 1 })
    const context = { report, signal: new AbortController().signal }
    try {
      await restore(settings, { backup: this.backups[0]?.id, ...options, targetDirectory }, context)
    } catch (error) {
      if (options.targetDirectory === undefined) {
        if (isThere) assert.deepEqual(readdirSync(targetDirectory), [], 'the target was empty before')
        else assert.ok(!existsSync(targetDirectory), 'the target was not there before')
      }
      return { exitCode: exitCodeOf(error, 'ordinary'), message: describeError(error) }
    }
    assert.equal(statSync(path.join(targetDirectory, 'global/pg_control')).size, 8192)
    if (options.targetDirectory === undefined) rmSync(targetDirectory, { recursive: true })
    return { exitCode: 0, message: '' }
  }

  /** Removes everything. */
  close(): void {
    removeHome(this.home)
  }
}
