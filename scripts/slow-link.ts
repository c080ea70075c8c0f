/**
 * How much of a slow and far link a backup and a restore use:
 *
 *   npm run slow-link -- [MB] [MEMORY]      default: 200 MB that do not compress, --memory 256MiB
 *
 * The link is a proxy of this process: a latency for each request, 20 MB/s over all connections, a megabyte on its way in
 * one connection, and one request of a hundred failing. Printed is what the archives took on the link, from the first
 * request to the last answer, beside what the link allows; a Markdown table.
 */
import { randomBytes } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Scene } from '../test/support/backup-scene.js'
import { openWorkplace } from '../test/support/pgsluice.js'
import { giveToServerUser } from '../test/support/server-user.js'
import { SlowLink, type SlowLinkOptions } from '../test/support/slow-link.js'

const MiB = 1024 * 1024
const FILE_BYTES = 8_000_000
const BYTES_PER_SECOND = 20_000_000
const ARCHIVES = /\/base\/[^/]+\/\d+\.tar\.zst/

const [megabytes = '200', memory = '256MiB'] = process.argv.slice(2)
const links: readonly (readonly [string, Omit<SlowLinkOptions, 'target' | 'bytesPerSecond'>])[] = [
  ['40 ms', { latencyMs: 40, windowBytes: MiB, failing: 0.01 }],
  ['200 ms', { latencyMs: 200, windowBytes: MiB, failing: 0.01 }],
]

const scene = await Scene.open()
const workplace = await openWorkplace()
try {
  for (let file = 0; file * FILE_BYTES < Number(megabytes) * 1e6; file++) {
    const name = path.join(scene.cluster.pgdata, `filler-${file}`)
    writeFileSync(name, randomBytes(FILE_BYTES), { mode: 0o600 })
    await giveToServerUser(name)
  }
  console.log('| link | | MB | s | MB/s | of what the link allows | requests that failed |')
  console.log('| --- | --- | --- | --- | --- | --- | --- |')
  for (const [name, options] of links) {
    const link = await SlowLink.start({ ...options, target: scene.endpoint.url, bytesPerSecond: BYTES_PER_SECOND })
    try {
      const target = workplace.at('restored')
      for (const args of [['backup'], ['restore', '--target-dir', target]]) {
        const counted = link.count(ARCHIVES)
        const failed = link.failures
        const { exitCode, stderr } = await scene.run([...args, '--quiet', '--memory', memory], {
          env: { AWS_ENDPOINT_URL_S3: link.url },
        })
        if (exitCode !== 0) throw new Error(stderr)
        const { bytes, seconds } = counted()
        const rate = bytes / seconds
        console.log(
          `| ${name} | ${args[0]} | ${(bytes / 1e6).toFixed(0)} | ${seconds.toFixed(1)} | ${(rate / 1e6).toFixed(1)} ` +
            `| ${((rate / BYTES_PER_SECOND) * 100).toFixed(0)} % | ${link.failures - failed} |`,
        )
      }
      rmSync(target, { recursive: true })
    } finally {
      await link.close()
    }
  }
} finally {
  await scene.close()
  workplace[Symbol.dispose]()
}
