/** pg_control as it is in an archive: its CRC, and whether it is of the cluster and the version that the record names. */
import { reasonOf } from '../errors.js'
import { parseControlFile, type ControlFile } from '../postgres/control-file.js'
import { formatLsn, parseLsn } from '../postgres/lsn.js'
import type { ControlFacts } from './jobs.js'

/** Far more than it can have. */
const MOST_BYTES = 64 * 1024

/** Takes the bytes of the file as they pass. */
export class ControlCheck {
  segmentBlocks: number | undefined
  #pieces: Buffer[] = []
  #size = 0

  take(piece: Buffer): void {
    this.#size += piece.length
    if (this.#size <= MOST_BYTES) this.#pieces.push(piece)
  }

  /** What is wrong with it, or undefined. */
  problem(facts: ControlFacts): string | undefined {
    let control: ControlFile
    try {
      control = parseControlFile(Buffer.concat(this.#pieces))
    } catch (error) {
      return reasonOf(error)
    }
    this.segmentBlocks = control.relationSegmentBlocks
    const said: [string, unknown, unknown][] = [
      ['system identifier', String(control.systemIdentifier), facts.systemIdentifier],
      ['catalog version', control.catalogVersion, facts.catalogVersion],
      ['block size', control.blockSize, facts.blockSize],
      ['WAL segment size', control.walSegmentSize, facts.walSegmentSize],
      ['data checksums', control.dataChecksumVersion !== 0, facts.dataChecksums],
    ]
    const wrong = said.find(([, found, expected]) => found !== expected)
    if (wrong) return `pg_control says the ${wrong[0]} ${String(wrong[1])}, the record ${String(wrong[2])}`
    // it was read last (E7): one from before the backup began is of another time
    if (control.checkpointLsn < parseLsn(facts.checkpointLsn))
      return `pg_control is older than the backup: its checkpoint is at ${formatLsn(control.checkpointLsn)}`
    return undefined
  }
}
