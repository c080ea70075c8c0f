/** What is in a WAL object, by zstd's own program, which passes over the head. */
import { spawnSync } from 'node:child_process'

/** Rejects where `zstd -d` does. */
export function zstdContents(object: Uint8Array): Buffer {
  const { stdout, stderr, status } = spawnSync('zstd', ['-dc'], { input: object, maxBuffer: 2 ** 30 })
  if (status !== 0) throw new Error(`zstd -d: ${stderr.toString()}`)
  return stdout
}
