/** The settings of retention: how many backups stay, how long, and how long what expires is announced before it goes. */
import { duration, size, wholeNumber } from './setting-forms.js'

/** Which backups stay. One that any of these keeps is kept; what is undefined keeps none. */
export interface RetentionSettings {
  /** The newest so many. */
  readonly keepFull?: number
  /** So many days back, every instant stays recoverable. */
  readonly keepDays?: number
  /** The newest of each of the last so many hours (days …) that have one, in UTC. */
  readonly keepHourly?: number
  readonly keepDaily?: number
  readonly keepWeekly?: number
  readonly keepMonthly?: number
  readonly keepYearly?: number
  /** As many of the newest as fit into so many bytes, as stored. */
  readonly maxSizeBytes?: number
}

const MOST = 100_000
const period = (name: string) => ({
  schema: wholeNumber(1, MOST),
  placeholder: 'N',
  help: `keep the newest backup of each of the last N ${name} that have one, in UTC`,
})

/** Part of the settings, by name. */
export const RETENTION_SETTINGS = {
  'keep-full': { schema: wholeNumber(1, MOST), placeholder: 'N', help: 'keep the newest N backups' },
  'keep-days': {
    schema: wholeNumber(1, 36_500),
    placeholder: 'N',
    help: 'keep every instant of the last N days recoverable',
  },
  'keep-hourly': period('hours'),
  'keep-daily': period('days'),
  'keep-weekly': period('weeks'),
  'keep-monthly': period('months'),
  'keep-yearly': period('years'),
  'max-size': {
    schema: size('1MiB', '1000000TiB'),
    placeholder: 'SIZE',
    help: 'keep as many of the newest backups as fit into SIZE, as stored',
  },
  grace: {
    schema: duration('1d', { mayBeZero: true }),
    placeholder: 'TIME',
    help: 'how long what expires is announced before it is deleted (default: 1d)',
  },
} as const

/** Names of the settings that keep backups. */
export const POLICY_SETTINGS = [
  'keep-full',
  'keep-days',
  'keep-hourly',
  'keep-daily',
  'keep-weekly',
  'keep-monthly',
  'keep-yearly',
  'max-size',
] as const

const MEMBERS: Readonly<Record<(typeof POLICY_SETTINGS)[number], keyof RetentionSettings>> = {
  'keep-full': 'keepFull',
  'keep-days': 'keepDays',
  'keep-hourly': 'keepHourly',
  'keep-daily': 'keepDaily',
  'keep-weekly': 'keepWeekly',
  'keep-monthly': 'keepMonthly',
  'keep-yearly': 'keepYearly',
  'max-size': 'maxSizeBytes',
}

/** The policy in values that were parsed. */
export function retentionFrom(parsed: Partial<Record<string, unknown>>): RetentionSettings {
  const set = POLICY_SETTINGS.filter((name) => parsed[name] !== undefined)
  return Object.freeze(Object.fromEntries(set.map((name) => [MEMBERS[name], parsed[name]])))
}
