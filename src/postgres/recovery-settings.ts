/**
 * The settings that make a restored cluster recover, and how they get into postgresql.auto.conf.
 *
 * That file is read last and wins over postgresql.conf. What a source cluster left in it, or in postgresql.conf, could
 * add a second recovery target, end recovery early or connect the copy to the source's primary; so stale values are
 * commented out here, and targets elsewhere are overridden (R11).
 */
import { ToolError } from '../errors.js'
import { formatLsn } from './lsn.js'
import { formatTimestamp, type RecoveryTarget, type TargetTimeline } from './recovery-target.js'

/** One line of a configuration file. */
export interface Setting {
  name: string
  value: string
}

/** What the caller decides. */
export interface RecoveryOptions {
  /** The whole command, with `%f` and `%p`; its other words through {@link quoteShell}. */
  restoreCommand: string
  target: RecoveryTarget
  targetTimeline: TargetTimeline
  /** What the server does at the target; without one recovery ends with promotion whatever this says. */
  action: 'pause' | 'promote' | 'shutdown'
  /** The server stays in recovery: it has no target, and may have a primary. */
  standby: boolean
  primaryConninfo?: string | undefined
  /** `off` keeps a copy from archiving into its source's WAL archive (A12). */
  archiveMode: 'off' | 'preserve'
  majorVersion: number
  /** The copy can do no harm; what it may preload. */
  isolated?: { sharedPreloadLibraries: string } | undefined
}

/** Settings that are never carried over from the source: they belong to another recovery (R11). */
const STALE_SETTINGS = [
  'recovery_target',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_xid',
  'recovery_target_lsn',
  'recovery_target_inclusive',
  'recovery_target_action',
  'recovery_target_timeline',
  'restore_command',
  'primary_conninfo',
  'primary_slot_name',
  'recovery_end_command',
  'archive_cleanup_command',
  'promote_trigger_file',
]

/** Any two of these that are not empty keep the server from starting; empty ones override postgresql.conf (R11). */
const TARGETS = [
  'recovery_target',
  'recovery_target_name',
  'recovery_target_time',
  'recovery_target_xid',
  'recovery_target_lsn',
]

/** The source's postgresql.conf may have them: they would run for the copy, and clean the archive of the source (R11). */
const COMMANDS = ['archive_cleanup_command', 'recovery_end_command']

/** The last version with promote_trigger_file: later ones do not start with it, empty or not (R11). */
const LAST_MAJOR_WITH_TRIGGER_FILE = 15

/** The oldest version whose recovery settings are ordinary settings and which this program supports (P10). */
const FIRST_MAJOR = 13

/**
 * The settings for one recovery, in the order they are written. The timeline, whether the target is included and what
 * happens at it are always explicit: empty values of these three are fatal (R11).
 *
 * @throws ToolError `usage` for a timeline that is none, or a version without these settings
 */
export function recoverySettings(options: RecoveryOptions): Setting[] {
  const { restoreCommand, target, targetTimeline, action, standby, primaryConninfo, archiveMode, isolated } = options
  if (options.majorVersion < FIRST_MAJOR) {
    throw new ToolError('usage', `PostgreSQL ${options.majorVersion} is not supported`)
  }
  if (typeof targetTimeline === 'number' && !(Number.isInteger(targetTimeline) && targetTimeline > 0)) {
    throw new ToolError('usage', `invalid timeline ${targetTimeline}`)
  }
  const ours = targetSetting(target)
  const settings: Setting[] = [
    { name: 'restore_command', value: restoreCommand },
    ...[...TARGETS, ...COMMANDS].filter((name) => name !== ours?.name).map((name) => ({ name, value: '' })),
    // behind the empty ones: the server takes an empty one that follows a target for a second target
    ...(ours ? [ours] : []),
    // Decimal: only file names are hexadecimal (I8).
    { name: 'recovery_target_timeline', value: String(targetTimeline) },
    { name: 'recovery_target_inclusive', value: 'inclusive' in target && !target.inclusive ? 'off' : 'on' },
    { name: 'recovery_target_action', value: action },
    { name: 'primary_conninfo', value: standby ? (primaryConninfo ?? '') : '' },
    { name: 'primary_slot_name', value: '' },
  ]
  // a file of that name may be there, and would promote a standby as soon as it is up
  if (options.majorVersion <= LAST_MAJOR_WITH_TRIGGER_FILE) settings.push({ name: 'promote_trigger_file', value: '' })
  if (isolated) settings.push(...isolatedSettings(isolated.sharedPreloadLibraries))
  else if (archiveMode === 'off') settings.push({ name: 'archive_mode', value: 'off' })
  return settings
}

/** Undefined for the end of the archive, which has no setting. */
function targetSetting(target: RecoveryTarget): Setting | undefined {
  switch (target.kind) {
    case 'end-of-archive':
      return undefined
    case 'immediate':
      return { name: 'recovery_target', value: 'immediate' }
    case 'time':
      return { name: 'recovery_target_time', value: formatTimestamp(target.microseconds) }
    case 'lsn':
      return { name: 'recovery_target_lsn', value: formatLsn(target.lsn) }
    case 'xid':
      return { name: 'recovery_target_xid', value: String(target.xid) }
    case 'name':
      return { name: 'recovery_target_name', value: target.name }
  }
}

/** A subscription of the source would take changes away from it, and a commit would wait for the source's standbys. */
function isolatedSettings(sharedPreloadLibraries: string): Setting[] {
  return [
    { name: 'archive_mode', value: 'off' },
    { name: 'archive_command', value: '' },
    { name: 'synchronous_standby_names', value: '' },
    // no launcher, and so no worker of any subscription
    { name: 'max_logical_replication_workers', value: '0' },
    { name: 'shared_preload_libraries', value: sharedPreloadLibraries },
  ]
}

/**
 * The contents of postgresql.auto.conf with `settings` in force: stale values and earlier ones of the same settings are
 * commented out with a remark, ours follow at the end. Everything else stays as it is.
 *
 * @throws ToolError `usage` for a value that no configuration file can hold
 */
export function applyToAutoConf(existing: string, settings: readonly Setting[]): string {
  const replaced = new Set([...STALE_SETTINGS, ...settings.map(({ name }) => name)])
  const kept = existing === '' || existing.endsWith('\n') ? existing : `${existing}\n`
  const lines = kept.split('\n').map((line) => {
    // As guc-file.l reads a line: a name in any case, then blanks or an equals sign.
    const name = /^\s*([A-Za-z_][A-Za-z0-9_$]*)(?=[\s=])/.exec(line)?.[1]?.toLowerCase()
    return name !== undefined && replaced.has(name) ? `# disabled when restored: ${line}` : line
  })
  const ours = settings.map(({ name, value }) => `${name} = ${quoteSetting(name, value)}\n`)
  return `${lines.join('\n')}# written when restored\n${ours.join('')}`
}

/**
 * One word of a restore_command: quoted for a POSIX shell, and with `%` doubled, since the server replaces `%f` and the
 * like wherever they stand (R12).
 *
 * @throws ToolError `usage` for a word with a line break or NUL, which no setting can hold
 */
export function quoteShell(word: string): string {
  refuseLineBreaks('a word of restore_command', word)
  return quoteWord(word.replaceAll('%', '%%'))
}

/** One word for a POSIX shell, quoted where it has to be. */
export function quoteWord(word: string): string {
  if (/^[A-Za-z0-9_\-+=:,.@/%]+$/.test(word)) return word
  return `'${word.replaceAll("'", String.raw`'\''`)}'`
}

/** As escape_single_quotes_ascii() in quotes.c: quotes and backslashes doubled. */
function quoteSetting(name: string, value: string): string {
  refuseLineBreaks(name, value)
  return `'${value.replaceAll('\\', String.raw`\\`).replaceAll("'", "''")}'`
}

function refuseLineBreaks(what: string, text: string): void {
  if (/[\n\r\0]/.test(text)) {
    throw new ToolError('usage', `${what} must not contain line breaks: ${JSON.stringify(text)}`)
  }
}
