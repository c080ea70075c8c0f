/** pgsluice itself, as it is in dist/. */
import path from 'node:path'
import { ROOT } from '../../test/support/oracles.js'
import { awsEnvironment, quoted } from './tool.js'
import type { Scene, Tool, Transport } from './tool.js'
const MAIN = path.join(ROOT, 'dist', 'main.js')
const FRONT = path.join(ROOT, 'dist', 'pgsluice-wal')
/** `memory` is what `--memory` gets; default: nothing. `nice` is `--nice` of its backups. */
export function pgsluice(options: { version: string; transport: Transport; memory?: string; nice?: boolean }): Tool {
  const { version, transport, memory, nice = false } = options
  // With less memory it has fewer threads.
  const size = ({ jobs }: Scene): string[] => (memory === undefined ? ['--jobs', String(jobs)] : ['--memory', memory])
  const place = ({ site, prefix }: Scene): string[] => [
    '--repository',
    `s3://${site.bucket}/${prefix}`,
    '--endpoint',
    site.endpoint,
  ]
  const words = (scene: Scene): string => place(scene).map(quoted).join(' ')
  const front = `${quoted(FRONT)} --node ${quoted(process.execPath)}`
  return {
    name: [
      'pgsluice',
      memory === undefined ? '' : ` --memory ${memory}`,
      nice ? ' --nice' : '',
      transport === 'https' ? ', TLS' : '',
    ].join(''),
    version,
    isOurs: true,
    transport,
    usesBucket: true,
    compression: 'zstd 1',
    hasAhead: true,
    ...(nice || memory !== undefined ? {} : { yielding: pgsluice({ ...options, nice: true }) }),
    leavesRecoveryToUser: false,
    environment: (scene) => ({
      ...awsEnvironment(scene),
      PGSLUICE_CONFIG: '/dev/null',
      ...(scene.site.caFile === undefined ? {} : { NODE_EXTRA_CA_CERTS: scene.site.caFile }),
    }),
    archiveCommand: (scene, ahead) => `${front} push "%p" ${words(scene)}${ahead ? '' : ' --push-ahead 0'}`,
    restoreCommand: (scene, ahead) => `${front} fetch %f "%p" ${words(scene)}${ahead ? '' : ' --fetch-ahead 0'}`,
    backup: (scene) => [
      process.execPath,
      MAIN,
      'backup',
      ...place(scene),
      '--compression-level',
      '1',
      '--quiet',
      ...(nice ? ['--nice'] : []),
      ...size(scene),
    ],
    restore: (scene, target) => [
      process.execPath,
      MAIN,
      'restore',
      'latest',
      '--target-dir',
      target,
      ...place(scene),
      '--quiet',
      ...size(scene),
    ],
  }
}
