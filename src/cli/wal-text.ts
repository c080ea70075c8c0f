/** The WAL archive for people, on stdout: a table a timeline, what the backups need, and where recovery may end. */
import { colors } from './colors.js'
import type { BackupWal, ClusterWal, ListedTimeline } from '../commands/wal-list.js'
import { formatBytes, formatTime } from './format.js'
import { table } from './table.js'

/** The WAL of each cluster. */
export function walListText(clusters: readonly ClusterWal[]): string {
  if (clusters.length === 0) return 'no cluster is stored here'
  return clusters.map(clusterText).join('\n\n')
}

function clusterText({ cluster, timelines, backups, heads, unreadable }: ClusterWal): string {
  const blocks = [`${colors.bold(cluster.name)}${cluster.alias === undefined ? '' : ` (${cluster.alias})`}`]
  if (timelines.length === 0) blocks.push('no WAL')
  for (const timeline of timelines) blocks.push(timelineText(timeline))
  if (backups.length > 0) blocks.push(backupsText(backups))
  if (heads.length > 1) {
    const title = `${heads.length} timelines end with WAL of their own, so "latest" says nothing: recovery needs --target-timeline`
    const lines = heads.map(({ description, last, lastStored }) =>
      last === undefined || lastStored === undefined
        ? `  ${description}`
        : `  ${description},\n    last ${last}, stored ${formatTime(lastStored)}`,
    )
    blocks.push([colors.yellow(title), ...lines].join('\n'))
  }
  for (const { name, reason } of unreadable) blocks.push(`${colors.red('UNUSABLE:')} ${name}: ${reason}`)
  return blocks.join('\n\n')
}

function timelineText({ timeline, parent, begin, history, partials, ranges, gaps }: ListedTimeline): string {
  const facts = [
    parent === undefined ? '' : `left timeline ${parent} at ${begin ?? '?'}`,
    history === 'none' ? 'no history file' : `history file ${history}`,
  ]
  const title = `${colors.bold(`timeline ${timeline}`)}: ${facts.filter(Boolean).join(', ')}`
  const rows = ranges.flatMap((range, index) => {
    const gap = gaps[index]
    return [
      ['stored', range.first, range.last, String(range.segments), formatBytes(range.storedBytes)],
      ['  LSN', range.beginLsn, range.endLsn, '', ''],
      ['  time', formatTime(range.firstStored), formatTime(range.lastStored), '', ''],
      ...(gap ? [[colors.red('missing'), gap.first, gap.last, String(gap.segments), '']] : []),
    ]
  })
  const lines =
    rows.length === 0 ? 'no whole segment' : table([['', 'FIRST', 'LAST', 'SEGMENTS', 'SIZE'], ...rows], [3, 4])
  return [title, lines, ...partials.map((name) => `partial  ${name}`)].join('\n')
}

function backupsText(backups: readonly BackupWal[]): string {
  const rows = backups.map(({ id, first, last, missing, gaps }) => [
    id,
    first,
    last,
    missing ? colors.red('DAMAGED') : gaps.length > 0 ? colors.red('GAP') : 'ok',
  ])
  const lines = backups.flatMap(({ id, missing, gaps }) => [
    ...(missing ? [`${colors.red('DAMAGED:')} backup ${id} cannot be restored: "${missing.missing}" is missing`] : []),
    ...gaps.map(
      ({ head, ...gap }) =>
        `${colors.red('GAP:')} recovery of backup ${id} along timeline ${head} ends\n` +
        `  before "${gap.missing}", which is missing: ${gap.isBehindStored ? `"${gap.behind}" is there` : `WAL went on to "${gap.behind}"`}`,
    ),
  ])
  return [table([['BACKUP', 'NEEDS FROM', 'TO', 'WAL'], ...rows]), ...lines].join('\n')
}
