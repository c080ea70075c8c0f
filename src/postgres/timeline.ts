/**
 * Timeline history files: which timelines a timeline descends from, and where each was left.
 *
 * A backup can be recovered to a timeline only if its own timeline is in that history and was left at or after the
 * backup's stop LSN (I1, I9). Timelines are numbers; that one is higher says nothing about descent (D4).
 */
import { ToolError } from '../errors.js'
import { formatLsn, parseLsn, type Lsn } from './lsn.js'

/** One ancestor of a timeline. */
export interface TimelineHistoryEntry {
  timeline: number
  /** Where the next entry's timeline, or the timeline itself after the last entry, begins. */
  switchLsn: Lsn
  /** Why the timeline was left, as the server wrote it. */
  reason: string
}

/** The ancestry of one timeline, oldest ancestor first. */
export interface TimelineHistory {
  timeline: number
  entries: TimelineHistoryEntry[]
}

/** As the sscanf() of readTimeLineHistory() in timeline.c reads a line: number, LSN, and whatever follows. */
const ENTRY = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)(?:\s+(.*))?$/

/**
 * Reads the contents of the history file of `timeline`. Timeline 1 has no such file: pass an empty text for it.
 *
 * @throws ToolError `damaged` when the text is no history of that timeline (the rules of readTimeLineHistory())
 */
export function parseTimelineHistory(text: string, timeline: number): TimelineHistory {
  const entries: TimelineHistoryEntry[] = []
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue
    const match = ENTRY.exec(line)
    if (match === null) throw damaged(timeline, `cannot read the line "${line}"`)
    const entry = { timeline: Number(match[1]), switchLsn: readLsn(match[2] ?? '', timeline), reason: match[3] ?? '' }
    const previous = entries.at(-1)
    if (previous !== undefined && entry.timeline <= previous.timeline) {
      throw damaged(timeline, 'timelines must be in increasing order')
    }
    if (previous !== undefined && entry.switchLsn < previous.switchLsn) {
      throw damaged(timeline, `timeline ${entry.timeline} ends before it begins, at ${formatLsn(entry.switchLsn)}`)
    }
    entries.push(entry)
  }
  const last = entries.at(-1)
  if (last !== undefined && last.timeline >= timeline) {
    throw damaged(timeline, `it names timeline ${last.timeline} as an ancestor`)
  }
  return { timeline, entries }
}

/**
 * The timeline that owns the WAL at `lsn` in this history (tliOfPointInHistory() in timeline.c): a switch LSN belongs
 * to the timeline that begins there.
 */
export function timelineAt(history: TimelineHistory, lsn: Lsn): number {
  return history.entries.find((entry) => lsn < entry.switchLsn)?.timeline ?? history.timeline
}

/** Where the history leaves `timeline`; undefined when it never does or the timeline is not in it (tliSwitchPoint()). */
export function switchLsnOf(history: TimelineHistory, timeline: number): Lsn | undefined {
  return history.entries.find((entry) => entry.timeline === timeline)?.switchLsn
}

/**
 * Whether the history passes through `timeline`, the timeline itself included, and with `lsn` whether it was still on
 * it there: what was written up to `lsn` on that timeline is part of this history (I1).
 */
export function isAncestor(history: TimelineHistory, timeline: number, lsn?: Lsn): boolean {
  if (timeline === history.timeline) return true
  const left = switchLsnOf(history, timeline)
  return left !== undefined && (lsn === undefined || lsn <= left)
}

function readLsn(text: string, timeline: number): Lsn {
  try {
    return parseLsn(text)
  } catch (error) {
    throw damaged(timeline, `"${text}" is no LSN`, error)
  }
}

function damaged(timeline: number, reason: string, cause?: unknown): ToolError {
  return new ToolError('damaged', `could not read the history file of timeline ${timeline}: ${reason}`, { cause })
}
