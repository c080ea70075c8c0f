/**
 * How much a run may use: threads and buffers from the memory it is allowed.
 *
 *     memory = 80 MiB (the process itself, its JavaScript heap and the SDK)
 *            + jobs × (47 MiB (a thread with its own SDK) + compressor (3 MiB at level 1,
 *              up to 81 MiB) + 8 MiB (one frame) + parts in flight × part size)
 *
 * The figures were measured (docs/performance.md); a test holds the whole process to them.
 */
import { ToolError } from '../errors.js'
import { DEFAULT_MEMORY_BYTES, type SettingName, type Settings } from './settings.js'

/** Settings that contradict each other; who knows where each came from tells that, too. */
export class SettingsConflict extends ToolError {
  readonly names: readonly SettingName[]

  constructor(names: readonly SettingName[], message: string, hint: string) {
    super('usage', message, { hint })
    this.names = names
  }
}

const MiB = 1024 * 1024
const BASE_BYTES = 80 * MiB
const THREAD_BYTES = 47 * MiB
const FRAME_BYTES = 8 * MiB
/** What a zstd compressor takes for a frame of 8 MiB, from that level on (measured). */
const COMPRESSOR_BYTES: readonly (readonly [number, number])[] = [
  [13, 81 * MiB],
  [10, 41 * MiB],
  [5, 11 * MiB],
  [1, 3 * MiB],
]

/** What a run is given. */
export interface Resources {
  /** Worker threads. */
  jobs: number
  partSizeBytes: number
  partsInFlight: number
}

/** Bytes of one thread with its buffers. */
function threadBytes(partSizeBytes: number, partsInFlight: number, level: number): number {
  const compressor = COMPRESSOR_BYTES.find(([from]) => level >= from)?.[1] ?? 0
  return THREAD_BYTES + compressor + FRAME_BYTES + partsInFlight * partSizeBytes
}

/**
 * Threads and buffers: as many as there are cores, unless the memory allows fewer. Throws ToolError `usage` where jobs
 * and memory were both set and contradict each other.
 */
export function planResources(
  settings: Pick<Settings, 'jobs' | 'memoryBytes' | 'compressionLevel'>,
  cores: number,
): Resources {
  const memory = settings.memoryBytes ?? DEFAULT_MEMORY_BYTES
  for (const [partSizeBytes, partsInFlight] of [
    [8 * MiB, 2],
    [5 * MiB, 2],
    [5 * MiB, 1],
  ] as const) {
    const allowed = Math.floor(
      (memory - BASE_BYTES) / threadBytes(partSizeBytes, partsInFlight, settings.compressionLevel),
    )
    if (settings.jobs !== undefined && (settings.memoryBytes === undefined || settings.jobs <= allowed)) {
      return { jobs: settings.jobs, partSizeBytes, partsInFlight }
    }
    if (settings.jobs === undefined && allowed >= Math.min(cores, 2)) {
      return { jobs: Math.min(cores, allowed), partSizeBytes, partsInFlight }
    }
  }
  if (settings.jobs === undefined) return { jobs: 1, partSizeBytes: 5 * MiB, partsInFlight: 2 }
  const needed = Math.ceil((BASE_BYTES + settings.jobs * threadBytes(5 * MiB, 1, settings.compressionLevel)) / MiB)
  throw new SettingsConflict(
    ['jobs', 'memory'],
    `${settings.jobs} jobs need ${needed}MiB of memory, and --memory allows ${Math.floor(memory / MiB)}MiB`,
    'Lower --jobs or raise --memory.',
  )
}
