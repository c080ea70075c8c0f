/**
 * What one puts together without a backup tool: `tar | zstd | aws s3 cp` between pg_backup_start and pg_backup_stop, and
 * pg_basebackup into a local file.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { awsEnvironment, quoted } from './tool.js'
import type { Scene, Tool } from './tool.js'

/** `libraries` is where the shared libraries of PostgreSQL's programs are, if not where the system looks. */
export interface ClientPrograms {
  psql: string
  pgBasebackup: string
  libraries: string | undefined
}

/** The pipe of three programs; `aws` is the path of the AWS command line. */
export function tarPipe(options: { aws: string; version: string; programs: ClientPrograms; major: number }): Tool {
  const { aws, version, programs, major } = options
  const copy = ({ site }: Scene): string => `${quoted(aws)} --endpoint-url ${site.endpoint} s3 cp --only-show-errors`
  const url = ({ site, prefix }: Scene): string => `s3://${site.bucket}/${prefix}`
  const bash = (script: string): string[] => ['bash', '-c', `set -e -o pipefail\n${script}`]
  return {
    name: 'tar | zstd | aws s3 cp',
    version,
    isOurs: false,
    transport: 'http',
    usesBucket: true,
    compression: 'zstd 1',
    remark: 'one stream; nothing is verified, a WAL file that exists is overwritten',
    hasAhead: false,
    leavesRecoveryToUser: true,
    environment: (scene) => ({
      ...awsEnvironment(scene),
      ...scene.server,
      ...(programs.libraries === undefined ? {} : { LD_LIBRARY_PATH: programs.libraries }),
    }),
    archiveCommand: (scene) => `zstd -q -1 -c "%p" | ${copy(scene)} - ${url(scene)}/wal/%f.zst`,
    restoreCommand: (scene) => `${copy(scene)} ${url(scene)}/wal/%f.zst - | zstd -q -d -o "%p"`,
    backup: (scene) => {
      const pipe =
        `tar -C ${quoted(scene.pgdata)} --exclude=./pg_wal/* --exclude=./postmaster.* --warning=no-file-changed -cf - .` +
        ` | zstd -q -1 -T${scene.jobs} | ${copy(scene)} - ${url(scene)}/base.tar.zst`
      writeFileSync(path.join(scene.work, 'backup.sh'), `set -e -o pipefail\n${pipe}\n`)
      const [start, stop] =
        major >= 15
          ? ["pg_backup_start('bench', true)", 'pg_backup_stop(true)']
          : ["pg_start_backup('bench', true, false)", 'pg_stop_backup(false, true)']
      const label = path.join(scene.work, 'backup_label')
      // One session holds the backup; the copy is a child of psql.
      const statements = [
        '\\set ON_ERROR_STOP on',
        `select ${start};`,
        `\\! bash ${path.join(scene.work, 'backup.sh')} && touch ${path.join(scene.work, 'copied')}`,
        '\\pset format unaligned',
        '\\pset tuples_only on',
        `\\o ${label}`,
        `select labelfile from ${stop};`,
      ]
      const script = path.join(scene.work, 'backup.sql')
      writeFileSync(script, `${statements.join('\n')}\n`)
      return bash(
        `${quoted(programs.psql)} -q -X -f ${script} > /dev/null\ntest -e ${path.join(scene.work, 'copied')}\n` +
          `${copy(scene)} ${label} ${url(scene)}/backup_label`,
      )
    },
    restore: (scene, target) =>
      bash(
        `${copy(scene)} ${url(scene)}/base.tar.zst - | zstd -q -d -c | tar -C ${quoted(target)} -xf -\n` +
          `${copy(scene)} ${url(scene)}/backup_label ${quoted(path.join(target, 'backup_label'))}`,
      ),
  }
}

/** pg_basebackup in tar format, compressed by itself, into a file of this host: no bucket. */
export function pgBasebackup(options: { version: string; programs: ClientPrograms }): Tool {
  const { version, programs } = options
  const file = (scene: Scene): string => path.join(scene.work, 'basebackup')
  return {
    name: 'pg_basebackup, local file',
    version,
    isOurs: false,
    transport: 'http',
    usesBucket: false,
    compression: 'zstd 1',
    remark:
      "compressed by the client, since npm's servers are built without zstd; no bucket, WAL is streamed into the backup",
    hasAhead: false,
    leavesRecoveryToUser: false,
    environment: (scene) => ({
      ...scene.server,
      ...(programs.libraries === undefined ? {} : { LD_LIBRARY_PATH: programs.libraries }),
    }),
    archiveCommand: () => '/bin/true',
    restoreCommand: () => '/bin/false',
    backup: (scene) => [
      programs.pgBasebackup,
      '-Ft',
      '-D',
      file(scene),
      '-X',
      'stream',
      '-c',
      'fast',
      `--compress=client-zstd:level=1,workers=${scene.jobs}`,
    ],
    restore: (scene, target) => [
      'bash',
      '-c',
      `set -e -o pipefail\nzstd -q -d -c ${file(scene)}/base.tar.zst | tar -C ${quoted(target)} -xf -\n` +
        `tar -C ${quoted(path.join(target, 'pg_wal'))} -xf ${file(scene)}/pg_wal.tar`,
    ],
  }
}
