/** The timeline history files that the archive holds (A15). */
import { createHash } from 'node:crypto'
import { ToolError } from '../errors.js'
import { parseTimelineHistory, type TimelineHistory } from '../postgres/timeline.js'
import { parseWalFileName, type WalFile } from '../postgres/wal-segment.js'
import type { Storage } from '../storage/storage.js'
import { walFileNameOf, walKey, walTimelinePrefix } from './layout.js'
import { openWalObject } from './wal-object-read.js'

/** The name of a history file, taken apart. */
export type HistoryFile = Extract<WalFile, { kind: 'history' }>

/** History files of timelines after `timeline`, ascending. */
export async function listHistories(
  storage: Storage,
  cluster: string,
  timeline: number,
  signal?: AbortSignal,
): Promise<HistoryFile[]> {
  const { files } = await listTimelines(storage, cluster, { behind: timeline, signal })
  return files.filter((file) => file.timeline > timeline)
}

/**
 * All timelines that have a history file or a folder of WAL, and the history files, ascending; with `behind` only what
 * sorts behind that timeline's folder. Steps over the folders of segments: a request each, not a page for each thousand of
 * segments (G8).
 */
export async function listTimelines(
  storage: Storage,
  cluster: string,
  { behind, signal }: { behind?: number; signal?: AbortSignal | undefined } = {},
): Promise<{ timelines: number[]; files: HistoryFile[] }> {
  const prefix = walTimelinePrefix(cluster, 0).slice(0, -'00000000/'.length)
  const timelines = new Set<number>()
  const files: HistoryFile[] = []
  let startAfter: string | undefined = behind === undefined ? prefix : lastOf(walTimelinePrefix(cluster, behind))
  while (startAfter !== undefined) {
    const keys = storage.list(prefix, { startAfter, signal })
    startAfter = undefined
    for await (const { key } of keys) {
      const slash = key.indexOf('/', prefix.length)
      const folder = slash < 0 ? undefined : key.slice(prefix.length, slash)
      const file = parseWalFileName(folder === undefined ? (walFileNameOf(key) ?? '') : `${folder}.history`)
      if (file?.kind === 'history') {
        timelines.add(file.timeline)
        if (folder === undefined) files.push(file)
      }
      if (folder === undefined) continue
      startAfter = lastOf(key.slice(0, slash + 1))
      break
    }
  }
  return { timelines: [...timelines].sort((a, b) => a - b), files }
}

/** What sorts behind everything in a folder: '0' follows '/'. */
function lastOf(folder: string): string {
  return `${folder.slice(0, -1)}0`
}

/** A history file, verified like everything that is fetched (G3). Rejects with NotFoundError where it is gone by now. */
export async function readHistory(
  storage: Storage,
  cluster: string,
  file: HistoryFile,
  signal?: AbortSignal,
): Promise<TimelineHistory> {
  const key = walKey(cluster, file)
  const { head, body } = await openWalObject(storage, key, signal)
  try {
    const pieces: Buffer[] = []
    // a copy: the buffer behind a piece is filled again
    for await (const bytes of body.contents()) pieces.push(Buffer.from(bytes))
    const text = Buffer.concat(pieces)
    if (head.name !== file.name || createHash('sha256').update(text).digest('hex') !== head.sha256)
      throw new ToolError('damaged', `"${key}" is damaged: its content is not what its head says`)
    return parseTimelineHistory(text.toString('utf8'), file.timeline)
  } finally {
    body.destroy()
  }
}
