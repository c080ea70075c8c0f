/** pgBackRest: bundled files, zstd level 1, its own TLS or, from 2.58 on, plain http. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { giveToServerUser, runAsServerUser } from '../../test/support/server-user.js'
import { quoted } from './tool.js'
import type { Scene, Tool } from './tool.js'
const STANZA = 'bench'
/** From this minor version of 2.x on it speaks http to a bucket, and has `--priority`. */
const FIRST_WITH_HTTP = 58
/** What its `--priority` gets: the niceness of our `--nice`. */
const LOW_PRIORITY = 10
/** The newest PostgreSQL that the minor versions of 2.x know, from the newest on. */
const NEWEST_MAJORS: readonly (readonly [minor: number, major: number])[] = [
  [59, 19],
  [56, 18],
  [53, 17],
  [48, 16],
  [41, 15],
  [34, 14],
  [30, 13],
]

/** The newest major of PostgreSQL that a version such as `2.45` can back up. */
export function newestMajorOf(version: string): number {
  const minor = Number(version.split('.')[1])
  return NEWEST_MAJORS.find(([from]) => minor >= from)?.[1] ?? 12
}

/** `program` is the path of pgbackrest; `lowered`: its backups have a low priority. */
export function pgbackrest(options: { program: string; version: string; lowered?: boolean }): Tool {
  const { program, version, lowered = false } = options
  const priority = lowered ? [`--priority=${LOW_PRIORITY}`] : []
  const hasHttp = Number(version.split('.')[1]) >= FIRST_WITH_HTTP
  const words = (scene: Scene): string[] => [program, `--config=${configOf(scene)}`, `--stanza=${STANZA}`]
  const shell = (scene: Scene, ahead: boolean): string =>
    [...words(scene), `--pg1-path=${scene.pgdata}`, ahead ? '--archive-async' : '--no-archive-async']
      .map(quoted)
      .join(' ')
  return {
    name: lowered ? `pgBackRest --priority ${LOW_PRIORITY}` : 'pgBackRest',
    version,
    isOurs: false,
    transport: hasHttp ? 'http' : 'https',
    usesBucket: true,
    compression: 'zstd 1',
    remark: 'small files are bundled; page checksums are verified',
    hasAhead: true,
    ...(lowered || !hasHttp ? {} : { yielding: pgbackrest({ ...options, lowered: true }) }),
    leavesRecoveryToUser: false,
    environment: () => ({}),
    prepare: async (scene) => {
      for (const name of ['lock', 'spool', 'log']) mkdirSync(path.join(scene.work, name), { recursive: true })
      writeFileSync(configOf(scene), configuration(scene))
      await giveToServerUser(scene.work)
      const online = scene.server === undefined ? ['--no-online'] : []
      const [command = program, ...args] = words(scene)
      const { exitCode, stdout, stderr } = await runAsServerUser(command, [...args, ...online, 'stanza-create'])
      if (exitCode !== 0) throw new Error(`pgbackrest stanza-create: ${stdout}${stderr}`)
    },
    archiveCommand: (scene, ahead) => `${shell(scene, ahead)} archive-push "%p"`,
    restoreCommand: (scene, ahead) => `${shell(scene, ahead)} archive-get %f "%p"`,
    backup: (scene) => [...words(scene), '--type=full', '--start-fast', ...priority, 'backup'],
    restore: (scene, target) => [...words(scene), `--pg1-path=${target}`, '--archive-mode=off', 'restore'],
  }
}

function configOf(scene: Scene): string {
  return path.join(scene.work, 'pgbackrest.conf')
}

function configuration({ site, prefix, pgdata, server, work, jobs }: Scene): string {
  const endpoint = new URL(site.endpoint)
  const host = endpoint.protocol === 'http:' ? `http://${endpoint.host}` : endpoint.host
  const lines = [
    '[global]',
    'repo1-type=s3',
    `repo1-path=/${prefix}`,
    `repo1-s3-bucket=${site.bucket}`,
    `repo1-s3-endpoint=${host}`,
    `repo1-s3-region=${site.region}`,
    `repo1-s3-key=${site.accessKeyId}`,
    `repo1-s3-key-secret=${site.secretAccessKey}`,
    'repo1-s3-uri-style=path',
    ...(site.caFile === undefined ? [] : [`repo1-storage-ca-file=${site.caFile}`]),
    'repo1-bundle=y',
    'repo1-retention-full=9',
    'compress-type=zst',
    'compress-level=1',
    `process-max=${jobs}`,
    `lock-path=${work}/lock`,
    `spool-path=${work}/spool`,
    `log-path=${work}/log`,
    'log-level-file=off',
    'log-level-console=warn',
    `[${STANZA}]`,
    `pg1-path=${pgdata}`,
    ...(server === undefined
      ? []
      : [
          `pg1-socket-path=${server['PGHOST'] ?? ''}`,
          `pg1-port=${server['PGPORT'] ?? ''}`,
          `pg1-user=${server['PGUSER'] ?? ''}`,
        ]),
  ]
  return `${lines.join('\n')}\n`
}
