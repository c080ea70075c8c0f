/** One backup, whole, for people. */
import { colors } from './colors.js'
import type { ShownBackup } from '../commands/show.js'
import { formatAge, formatBytes, formatRate, formatRatio, formatSeconds, formatTime } from './format.js'
import { pinText, proofText } from './list-text.js'
import { table } from './table.js'

type Line = ShownBackup['objects'][number]
type ObjectLine = Extract<Line, { type: 'object' }>

/** Facts first, then what was found wrong. */
export function showText(shown: ShownBackup): string {
  const { record, objects, time } = shown
  const { start, stop, totals } = record
  const rows = [
    ['id', record.id],
    ['label', record.label],
    ['cluster', record.alias === undefined ? record.cluster : `${record.cluster} (${record.alias})`],
    ['type', record.type],
    ['PostgreSQL', `${Math.floor(record.postgresVersion / 10_000)}.${record.postgresVersion % 10_000}`],
    ['started', `${formatTime(start.time)} at ${start.lsn}, timeline ${start.timeline}, ${start.segment}`],
    ['stopped', `${formatTime(stop.time)} at ${stop.lsn}, timeline ${stop.timeline}, ${stop.segment}`],
    ['age', formatAge(stop.time, time)],
    ['took', `${formatSeconds(totals.seconds)}, ${formatRate(totals.bytes, totals.seconds)}`],
    ['size', `${formatBytes(totals.bytes)} in ${count(record.files.count, 'file')} and directories`],
    [
      'stored',
      `${formatBytes(totals.storedBytes)} in ${count(record.objects.count, 'object')}, ` +
        `${formatRatio(totals.bytes, totals.storedBytes)} smaller`,
    ],
    ...objectRows(objects.filter((line): line is ObjectLine => line.type === 'object')),
    ['WAL', walText(shown)],
    ['proof', shown.proof ? proofText(shown.proof, time) : 'nobody has verified it yet'],
    ['pin', shown.pin ? pinText(shown.pin) : 'none'],
    ['retention', retentionText(shown)],
    ['data checksums', record.dataChecksums ? 'on' : 'off'],
    ['file checksums', record.checksumAlgorithm],
    ['written by', record.tool],
    ...record.tablespaces.map(({ oid, location, inPlace }) => [
      'tablespace',
      `${oid} at ${location}${inPlace ? ' (in place)' : ''}`,
    ]),
    ['page errors', totals.pageErrors === 0 ? 'none' : colors.red(String(totals.pageErrors))],
  ]
  return table([...rows, ...objects.flatMap(remarkRows)])
}

/** What a backup consists of, kind by kind. */
function objectRows(objects: readonly ObjectLine[]): string[][] {
  const isArchive = ({ name }: ObjectLine): boolean => name.endsWith('.tar.zst')
  const isConfig = ({ name }: ObjectLine): boolean => name.startsWith('config/')
  const archives = objects.filter(isArchive)
  const configs = objects.filter(isConfig)
  const rest = objects.filter((line) => !isArchive(line) && !isConfig(line))
  const members = archives.reduce((sum, line) => sum + (line.members ?? 0), 0)
  return [
    ['archives', `${sizes(archives)} with ${count(members, 'member')}`],
    ['indexes', `${sizes(rest)}: ${rest.map(({ name }) => name).join(', ')}`],
    ...configs.map(({ name, size }) => ['configuration', `${name.slice('config/'.length)}, ${formatBytes(size)}`]),
  ]
}

function sizes(objects: readonly ObjectLine[]): string {
  return `${objects.length}, ${formatBytes(objects.reduce((sum, { size }) => sum + size, 0))}`
}

function walText({ wal }: ShownBackup): string {
  const { segments, bytes, storedSegments, storedBytes } = wal
  const needed = `${count(segments, 'segment')}, ${formatBytes(bytes)}`
  if (storedSegments >= segments) return `${needed}, ${formatBytes(storedBytes)} stored`
  return `${needed}, ${colors.red(`${segments - storedSegments} MISSING from the archive`)}`
}

function retentionText({ retention }: ShownBackup): string {
  if (!retention) return 'not known here: the settings hold no policy'
  const { action, reasons } = retention
  const why = reasons.join(', ')
  return action === 'keep' ? `kept: ${why}` : colors.yellow(`expires with the next run: ${why}`)
}

function remarkRows(line: Line): string[][] {
  if (line.type === 'object') return []
  if (line.type === 'page-errors')
    return [['', `${line.pages} in "${line.path}" (${line.fork} fork), first at block ${line.first.block}`]]
  return [[line.type, `"${line.path}"${line.reason === undefined ? '' : `: ${line.reason}`}`]]
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
