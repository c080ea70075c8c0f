/**
 * Checksums of whole files, as a backup manifest holds them.
 *
 * CRC32C is PostgreSQL's default and costs a tenth of SHA-256. It finds accidents, not attacks: objects carry a SHA-256
 * of their own.
 */
import { createHash } from 'node:crypto'
import { crc32c as nativeCrc32c } from '@node-rs/crc32'

/** The algorithms, by the names they have in a backup manifest. */
export type ChecksumAlgorithm = 'CRC32C' | 'SHA256'

/** Bytes of a checksum. */
export function checksumLength(algorithm: ChecksumAlgorithm): number {
  return algorithm === 'SHA256' ? 32 : 4
}

/** A checksum in the making. */
export interface FileChecksum {
  /** Adds bytes; they may be overwritten as soon as this returns. */
  update(bytes: Uint8Array): void
  /** The checksum of all bytes, in the manifest's spelling. Called once, at the end. */
  digest(): string
}

/** Begins the checksum of one file. */
export function createFileChecksum(algorithm: ChecksumAlgorithm): FileChecksum {
  if (algorithm === 'SHA256') {
    const hash = createHash('sha256')
    return {
      update: (bytes) => void hash.update(bytes),
      digest: () => hash.digest('hex'),
    }
  }
  let crc = 0
  return {
    update: (bytes) => {
      crc = crc32c(bytes, crc)
    },
    digest: () => crcText(crc),
  }
}

/**
 * CRC-32C (Castagnoli) of bytes as an unsigned number; `seed` is the CRC of what came before, so that
 * `crc32c(b, crc32c(a))` is that of a and b together.
 */
export function crc32c(bytes: Uint8Array, seed = 0): number {
  return nativeCrc32c(bytes, seed)
}

/** PostgreSQL prints the bytes of the number as they lie in memory, so the lowest comes first (E13). */
function crcText(crc: number): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(crc)
  return bytes.toString('hex')
}
