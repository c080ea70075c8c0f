/** WAL-G: zstd at its fastest, as many uploads and disk readers as every other tool. */
import { awsEnvironment, quoted } from './tool.js'
import type { Tool } from './tool.js'
/** `program` is the path of wal-g for PostgreSQL. */
export function walG(options: { program: string; version: string }): Tool {
  const { program, version } = options
  // Its own way to turn parallel uploads of ready files, and the prefetch, off.
  const alone = 'WALG_UPLOAD_CONCURRENCY=1 WALG_DOWNLOAD_CONCURRENCY=1 '
  const shell = (ahead: boolean): string => `${ahead ? '' : alone}${quoted(program)}`
  return {
    name: 'WAL-G',
    version,
    isOurs: false,
    transport: 'http',
    usesBucket: true,
    compression: 'zstd, fastest',
    remark: 'page checksums are not verified (its default)',
    hasAhead: true,
    leavesRecoveryToUser: true,
    environment: (scene) => ({
      ...awsEnvironment(scene),
      ...scene.server,
      PGDATA: scene.pgdata,
      WALG_S3_PREFIX: `s3://${scene.site.bucket}/${scene.prefix}`,
      AWS_ENDPOINT: scene.site.endpoint,
      AWS_S3_FORCE_PATH_STYLE: 'true',
      WALG_COMPRESSION_METHOD: 'zstd',
      WALG_ZSTD_LEVEL: 'fastest',
      WALG_UPLOAD_CONCURRENCY: String(scene.jobs),
      WALG_UPLOAD_DISK_CONCURRENCY: String(scene.jobs),
      WALG_DOWNLOAD_CONCURRENCY: String(scene.jobs),
      GOMAXPROCS: String(scene.jobs),
    }),
    archiveCommand: (_scene, ahead) => `${shell(ahead)} wal-push "%p"`,
    restoreCommand: (_scene, ahead) => `${shell(ahead)} wal-fetch %f "%p"`,
    backup: (scene) => [program, 'backup-push', scene.pgdata, '--full'],
    restore: (_scene, target) => [program, 'backup-fetch', target, 'LATEST'],
  }
}
