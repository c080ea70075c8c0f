/** What `verify` and `acknowledge` tell people: a line a backup, then what is wrong. */
import { colors } from './colors.js'
import type { AcknowledgedBackup } from '../commands/acknowledge.js'
import type { VerifiedBackup, VerifyAnswer } from '../commands/verify.js'
import { formatSeconds, formatTime } from './format.js'
import { table } from './table.js'

/** Faults of one backup that are printed; the JSON has all. */
const PRINTED_FAULTS = 50

/** The backups, their faults, and what is being taken now. */
export function verifyText({ level, backups, running }: VerifyAnswer): string {
  const rows = backups.map((backup) => [backup.id, backup.label ?? '', stateText(backup, level), seconds(backup)])
  const blocks = [table([['BACKUP', 'LABEL', 'STATE', 'TIME'], ...rows], [3])]
  for (const backup of backups) {
    const lines = [...backup.faults.slice(0, PRINTED_FAULTS).map((fault) => faultText(fault))]
    if (backup.faultCount > PRINTED_FAULTS) lines.push(`and ${backup.faultCount - PRINTED_FAULTS} more`)
    for (const remark of backup.remarks) lines.push(`${colors.yellow('REMARK:')} ${remark}`)
    if (lines.length > 0)
      blocks.push([colors.bold(`backup ${backup.id}`), ...lines.map((line) => `  ${line}`)].join('\n'))
  }
  for (const { id, host } of running) blocks.push(`backup ${id} is in progress on "${host}"`)
  return blocks.join('\n\n')
}

/** What was accepted. */
export function acknowledgeText({ id, faultCount, pageErrors }: AcknowledgedBackup): string {
  const what = [
    ...(faultCount > 0 ? [`${faultCount} ${faultCount === 1 ? 'fault' : 'faults'}`] : []),
    ...(pageErrors > 0 ? [`${pageErrors} corrupt ${pageErrors === 1 ? 'page' : 'pages'}`] : []),
  ]
  return `${what.join(' and ')} of backup ${id} acknowledged`
}

function stateText({ state, faultCount, time }: VerifiedBackup, level: string): string {
  switch (state) {
    case 'ok':
      return colors.green(`proven (${level})`)
    case 'faults':
      return colors.red(`${faultCount} ${faultCount === 1 ? 'FAULT' : 'FAULTS'}`)
    case 'recent':
      return `proven ${formatTime(time)}`
    case 'deleted':
      return 'deleted meanwhile'
  }
}

function seconds({ state, seconds: taken }: VerifiedBackup): string {
  return state === 'recent' ? '' : formatSeconds(taken)
}

function faultText({ key, place, problem }: VerifiedBackup['faults'][number]): string {
  return `${colors.red('FAULT:')} ${key}${place === undefined ? '' : `, ${place}`}: ${problem}`
}
