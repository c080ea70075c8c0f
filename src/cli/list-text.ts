/** The backups of each cluster at a glance, for people. */
import { stripVTControlCharacters } from 'node:util'
import { colors } from './colors.js'
import type { ListedPin, ListedProof } from '../commands/backup-marks.js'
import type { ClusterBackups, ListedRun } from '../commands/list.js'
import type { ListedOutlook } from '../commands/retention-outlook.js'
import { formatAge, formatBytes, formatRate, formatRatio, formatSeconds, formatTime } from './format.js'
import { headsText } from './heads-text.js'
import { table } from './table.js'

type ListedBackup = ClusterBackups['backups'][number]

/** What a column is made from. */
interface Row {
  backup: ListedBackup
  pin: ListedPin | undefined
  proof: ListedProof | undefined
  outlook: ListedOutlook | undefined
  now: string
}

interface Column {
  head: string
  isNumber?: true
  cell: (row: Row) => string
}

const COLUMNS: readonly Column[] = [
  { head: 'ID', cell: ({ backup }) => backup.id },
  { head: 'LABEL', cell: ({ backup }) => backup.label },
  { head: 'AGE', isNumber: true, cell: ({ backup, now }) => formatAge(backup.stop.time, now) },
  { head: 'ENDED', cell: ({ backup }) => formatTime(backup.stop.time) },
  { head: 'SIZE', isNumber: true, cell: ({ backup }) => formatBytes(backup.totals.bytes) },
  { head: 'STORED', isNumber: true, cell: ({ backup }) => formatBytes(backup.totals.storedBytes) },
  { head: 'RATIO', isNumber: true, cell: ({ backup: { totals } }) => formatRatio(totals.bytes, totals.storedBytes) },
  { head: 'TOOK', isNumber: true, cell: ({ backup }) => formatSeconds(backup.totals.seconds) },
  { head: 'RATE', isNumber: true, cell: ({ backup: { totals } }) => formatRate(totals.bytes, totals.seconds) },
  { head: 'WAL', cell: ({ backup: { start, stop } }) => walText(start.segment, stop.segment) },
  { head: 'PAGES', cell: ({ backup: { totals } }) => pagesText(totals.pageErrors) },
  { head: 'TIMELINE', isNumber: true, cell: ({ backup }) => String(backup.stop.timeline) },
  { head: 'PROOF', cell: ({ proof, now }) => proofText(proof, now) },
  { head: 'PIN', cell: ({ pin }) => pinText(pin) },
  { head: 'RETENTION', cell: ({ outlook }) => outlookText(outlook) },
]

/** Which columns go where a terminal is too narrow, in this order; what is left is never cut. */
const DROPPED_FIRST = [
  'RATE',
  'RATIO',
  'ENDED',
  'WAL',
  'TOOK',
  'STORED',
  'TIMELINE',
  'PAGES',
  'RETENTION',
  'PIN',
  'PROOF',
  'LABEL',
  'SIZE',
]

/** The list. `columns`: the width of a terminal; without one nothing is left out. */
export function listText(clusters: readonly ClusterBackups[], columns?: number): string {
  if (clusters.length === 0) return 'no cluster is stored here'
  return clusters.map((listed) => clusterText(listed, columns)).join('\n\n')
}

function clusterText(
  { cluster, time, inProgress, heads, unreadable, ...rest }: ClusterBackups,
  columns?: number,
): string {
  const { backups, pins, proofs, retention } = rest
  const rows = backups.map((backup) => {
    const isOf = ({ id }: { id: string }): boolean => id === backup.id
    return { backup, pin: pins.find(isOf), proof: proofs.find(isOf), outlook: retention?.find(isOf), now: time }
  })
  return [
    `${colors.bold(cluster.name)}${cluster.alias === undefined ? '' : ` (${cluster.alias})`}`,
    ...(rows.length === 0 ? ['no backup'] : backupsText(rows, columns)),
    ...inProgress.map(runText),
    ...unreadable.map(({ id, reason }) => `${colors.red('UNUSABLE:')} ${id}: ${reason}`),
    ...(heads.length > 1 ? ['', headsText(heads)] : []),
  ].join('\n')
}

/** The table, and which columns it lacks. */
function backupsText(rows: readonly Row[], width: number | undefined): string[] {
  // a column that would tell nothing is not there: one and the same number in every row, or nothing at all
  const idle = new Set<string>()
  if (new Set(rows.map(({ backup }) => backup.stop.timeline)).size === 1) idle.add('TIMELINE')
  if (rows.every(({ pin }) => pin === undefined)) idle.add('PIN')
  if (rows.every(({ outlook }) => outlook === undefined)) idle.add('RETENTION')
  let shown = COLUMNS.filter(({ head }) => !idle.has(head))
  const dropped: string[] = []
  for (const head of DROPPED_FIRST) {
    if (width === undefined || widthOf(tableOf(shown, rows)) <= width) break
    if (!shown.some((column) => column.head === head)) continue
    shown = shown.filter((column) => column.head !== head)
    dropped.push(head.toLowerCase())
  }
  if (dropped.length === 0) return [tableOf(shown, rows)]
  return [tableOf(shown, rows), colors.dim(`(too narrow for: ${dropped.join(', ')})`)]
}

function tableOf(columns: readonly Column[], rows: readonly Row[]): string {
  const cells = [columns.map(({ head }) => head), ...rows.map((row) => columns.map(({ cell }) => cell(row)))]
  return table(
    cells,
    [...columns.keys()].filter((index) => columns[index]?.isNumber),
  )
}

function widthOf(text: string): number {
  return Math.max(
    ...stripVTControlCharacters(text)
      .split('\n')
      .map((line) => line.length),
  )
}

function walText(first: string, last: string): string {
  return first === last ? first : `${first} - ${last.slice(8)}`
}

function pagesText(errors: number): string {
  return errors === 0 ? 'ok' : colors.red(`${errors} corrupt`)
}

/** `wal, 3 h ago`: how deep the newest look went that found nothing, and when. */
export function proofText(proof: ListedProof | undefined, now: string): string {
  if (!proof) return '-'
  const age = formatAge(proof.time, now)
  const faults = `${proof.faultCount} fault${proof.faultCount === 1 ? '' : 's'}`
  if (proof.state === 'proven') return colors.green(`${proof.level ?? 'proven'}, ${age}`)
  return proof.state === 'failed' ? colors.red(`FAILED: ${faults}, ${age}`) : colors.yellow(`accepted: ${faults}`)
}

/** Until when a pin holds. */
export function pinText(pin: ListedPin | undefined): string {
  if (!pin) return '-'
  return pin.until === null ? 'pinned' : `until ${formatTime(pin.until)}`
}

/** `keep`, or what the next `expire` does; the reasons are for `show` and `expire --dry-run`. */
function outlookText(outlook: ListedOutlook | undefined): string {
  if (!outlook) return '-'
  return outlook.action === 'keep' ? 'keep' : colors.yellow('expire')
}

function runText({ id, state }: ListedRun): string {
  return state === 'running'
    ? `${colors.cyan('in progress:')} ${id}`
    : `${colors.yellow('unfinished:')} ${id}: "pgsluice backup --finalize ${id}" commits it once its WAL is archived`
}
