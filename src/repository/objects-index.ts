/**
 * `objects.jsonl.zst`: one line for every object of a backup (its record and this index apart), and for what the backup
 * found wrong with its source: corrupt pages, files it left out.
 */
import type { Storage } from '../storage/storage.js'
import { readJsonLines } from './json-lines.js'

/** An object: enough to prove it, whatever has copied it since. */
export interface ObjectLine {
  type: 'object'
  /** Relative to the backup's own prefix (`00000.tar.zst`). */
  name: string
  /** Bytes as stored. */
  size: number
  /** Hex. */
  sha256: string
  /** Files in it, where it is an archive. */
  members?: number
  /** Where a configuration file lay on its host (W8), absolute. */
  path?: string
  /** Its permission bits, octal. */
  mode?: string
  /** The setting that names it, where one does: the others were included. */
  setting?: ConfigurationSetting
}

/** The settings that name a configuration file each. */
export type ConfigurationSetting = 'config_file' | 'hba_file' | 'ident_file'

/** Corrupt pages of one file. */
export interface PageErrorsLine {
  type: 'page-errors'
  path: string
  fork: string
  pages: number
  /** First and last block of each run, absolute within the relation fork; at most 100 runs. */
  ranges: [number, number][]
  first: { block: number; stored: number; computed: number; lsn: string }
}

/** Something in the data directory that is no part of the backup, or a remark on a file that is. */
export interface RemarkLine {
  type: 'skipped' | 'vanished' | 'remark'
  path: string
  reason?: string
}

export type ObjectsIndexLine = ObjectLine | PageErrorsLine | RemarkLine

/** Reads the index, proven by the hash in the record. */
export async function readObjectsIndex(
  storage: Storage,
  key: string,
  sha256: string,
  signal?: AbortSignal,
): Promise<ObjectsIndexLine[]> {
  const lines: ObjectsIndexLine[] = []
  for await (const line of readJsonLines(storage, key, sha256, signal)) lines.push(line as unknown as ObjectsIndexLine)
  return lines
}
