/** A recovery plan for people. */
import { colors } from './colors.js'
import type { PlanAnswer, ReachablePlan } from '../commands/plan.js'
import { formatBytes, formatSeconds, formatTime } from './format.js'
import { table } from './table.js'

/** The answer of `plan`: what would be used, or why nothing can be. */
export function planText(answer: PlanAnswer): string {
  if (!answer.reachable) {
    const hint = answer.hint === undefined ? '' : `\n${colors.bold('HINT:')} ${answer.hint}`
    return `${colors.red('UNREACHABLE:')} ${answer.reason}${hint}`
  }
  const { backup, wal, gap, end, found } = answer
  const rows = [
    ['cluster', answer.cluster],
    ['target', answer.proven ? answer.target : `${answer.target} (not looked for: --scan would)`],
    ['backup', `${backup.id}${backup.label === '' ? '' : ` (${backup.label})`}`],
    ['', `ended ${formatTime(backup.stopTime)} at ${backup.stopLsn}`],
    ...answer.timelines.map(({ timeline, from, to }, index) => [
      index === 0 ? 'timeline' : '',
      `${timeline} from ${from}${to === undefined ? '' : ` until it was left at ${to}`}`,
    ]),
    ['WAL', walText(wal)],
    ['first gap', gap === undefined ? 'none' : `"${gap.missing}", behind the target`],
    ...(found ? [['found', `at ${found.lsn}, ${formatTime(found.time)}`]] : []),
    ...(end ? [['archive ends', endText(end)]] : []),
    ['download', `${formatBytes(backup.storedBytes)} of backup, ${formatBytes(wal.storedBytes)} of WAL`],
    ['duration', durationText(answer)],
  ]
  return table(rows)
}

function walText({ segments, storedBytes, first, last }: ReachablePlan['wal']): string {
  if (first === undefined || last === undefined) return 'none'
  const names = first === last ? first : `${first} to ${last}`
  return `${segments} segment${segments === 1 ? '' : 's'}, ${names}, ${formatBytes(storedBytes)} stored`
}

function endText({ lsn, commitTime }: NonNullable<ReachablePlan['end']>): string {
  const commit = commitTime === undefined ? 'no commit since the backup' : `last commit ${formatTime(commitTime)}`
  return lsn === undefined ? commit : `${commit}, last record at ${lsn}`
}

function durationText({ duration, wal }: ReachablePlan): string {
  const { restoreSeconds, walSeconds, storedBytesPerSecond, connections } = duration
  const rate = `${formatBytes(storedBytesPerSecond)}/s, measured now over ${connections} connection${connections === 1 ? '' : 's'}`
  const fetch =
    walSeconds === undefined
      ? ''
      : `; ${formatSeconds(walSeconds)} to fetch ${wal.segments} segments, one after another`
  return `${formatSeconds(restoreSeconds)} to read the backup (${rate})${fetch}; replay depends on the server`
}
