/** barman-cloud: lz4 for base backups, which is the fastest that it has there, and zstd for WAL. */
import path from 'node:path'
import { awsEnvironment, quoted } from './tool.js'
import type { Scene, Tool } from './tool.js'
const SERVER = 'bench'
/** `directory` holds barman-cloud-backup and its siblings. */
export function barman(options: { directory: string; version: string }): Tool {
  const { directory, version } = options
  const program = (verb: string): string => path.join(directory, `barman-cloud-${verb}`)
  const place = ({ site }: Scene): string[] => [
    '--cloud-provider=aws-s3',
    `--endpoint-url=${site.endpoint}`,
    '--addressing-style=path',
  ]
  const url = ({ site, prefix }: Scene): string => `s3://${site.bucket}/${prefix}`
  const shell = (verb: string, scene: Scene, ...extra: string[]): string =>
    [program(verb), ...place(scene), ...extra, url(scene), SERVER].map(quoted).join(' ')
  return {
    name: 'barman-cloud',
    version,
    isOurs: false,
    transport: 'http',
    usesBucket: true,
    compression: 'lz4 (WAL: zstd 1)',
    remark: 'no zstd for base backups; nothing is verified',
    hasAhead: false,
    leavesRecoveryToUser: true,
    environment: (scene) => ({ ...awsEnvironment(scene), ...scene.server }),
    archiveCommand: (scene) => `${shell('wal-archive', scene, '--zstd', '--compression-level=1')} "%p"`,
    restoreCommand: (scene) => `${shell('wal-restore', scene)} %f "%p"`,
    backup: (scene) => [
      program('backup'),
      ...place(scene),
      '--lz4',
      '--immediate-checkpoint',
      `--jobs=${scene.jobs}`,
      '--name=bench',
      url(scene),
      SERVER,
    ],
    restore: (scene, target) => [program('restore'), ...place(scene), url(scene), SERVER, 'bench', target],
  }
}
