/**
 * What a backup asks the server: one statement a function.
 *
 * Everything here works for a role with nothing but LOGIN (P6), except where a function says which GRANT it needs.
 * Numbers travel as text: `pg` could have been told elsewhere to parse bigint its own way.
 */
import { ToolError } from '../../errors.js'
import { formatLsn, parseLsn } from '../lsn.js'
import { segmentName, segmentNumberAt } from '../wal-segment.js'
import { withGrantHint } from './privileges.js'
import type { Session } from './connection.js'

/** The server and the settings that matter to backups. What the role may not see is undefined (P5). */
export interface ServerInfo {
  versionNum: number
  major: number
  /** The version as the server writes it, such as `18.4`. */
  version: string
  systemIdentifier: bigint
  catalogVersion: number
  walSegmentSize: number
  blockSize: number
  /** Blocks in one file of a relation, which page checksums depend on (C1). */
  blocksPerSegment: number
  dataChecksums: boolean
  inRecovery: boolean
  /** Of the last checkpoint; right after a promotion the one before. Ask again after the start of a backup (S5). */
  timeline: number
  clusterName: string
  port: number
  dataDirectory: string | undefined
  configFiles: { config: string; hba: string; ident: string } | undefined
  walLevel: string
  archiveMode: string
  archiveCommand: string
  /** Undefined before 15. */
  archiveLibrary: string | undefined
  archiveTimeoutSeconds: number
  fullPageWrites: boolean
  /** 13 and 14 only: a directory that a backup leaves out (W2). */
  statsTempDirectory: string | undefined
  checkpointTimeoutSeconds: number
  maxConnections: number
  summarizeWal: boolean
}

/** Reads {@link ServerInfo}. */
export async function readServer(session: Session): Promise<ServerInfo> {
  const [control] = await session.query<Record<string, string>>(`
    select system_identifier::text, catalog_version_no::text, bytes_per_wal_segment::text, database_block_size::text,
      blocks_per_segment::text, data_page_checksum_version::text, timeline_id::text, pg_is_in_recovery()::text as in_recovery
    from pg_control_system(), pg_control_init(), pg_control_checkpoint()`)
  if (control === undefined) throw new ToolError('database', 'the server returned nothing about its control file')
  const settings = await readSettings(session)
  const get = (name: string): string => settings.get(name) ?? ''
  const [config, hba, ident] = ['config_file', 'hba_file', 'ident_file'].map((name) => settings.get(name))
  return {
    versionNum: session.versionNum,
    major: Math.trunc(session.versionNum / 10_000),
    version: get('server_version'),
    systemIdentifier: BigInt.asUintN(64, BigInt(control['system_identifier'] ?? '0')),
    catalogVersion: Number(control['catalog_version_no']),
    walSegmentSize: Number(control['bytes_per_wal_segment']),
    blockSize: Number(control['database_block_size']),
    blocksPerSegment: Number(control['blocks_per_segment']),
    dataChecksums: control['data_page_checksum_version'] !== '0',
    inRecovery: control['in_recovery'] === 'true',
    timeline: Number(control['timeline_id']),
    clusterName: get('cluster_name'),
    port: Number(get('port')),
    dataDirectory: settings.get('data_directory'),
    configFiles: config === undefined || hba === undefined || ident === undefined ? undefined : { config, hba, ident },
    walLevel: get('wal_level'),
    archiveMode: get('archive_mode'),
    archiveCommand: get('archive_command'),
    archiveLibrary: settings.get('archive_library'),
    archiveTimeoutSeconds: Number(get('archive_timeout')),
    fullPageWrites: get('full_page_writes') === 'on',
    statsTempDirectory: settings.get('stats_temp_directory'),
    checkpointTimeoutSeconds: Number(get('checkpoint_timeout')),
    maxConnections: Number(get('max_connections')),
    summarizeWal: get('summarize_wal') === 'on',
  }
}

/** A configuration file that the server read. */
export interface ConfigFile {
  /** Absolute. */
  path: string
  /** The setting that names it; undefined for one that is included. */
  setting?: 'config_file' | 'hba_file' | 'ident_file' | undefined
}

/**
 * The three main configuration files, and those included ones from which a setting comes that counts, each once (W8). A role
 * without pg_read_all_settings sees none of them (P5).
 */
export async function listConfigFiles(session: Session): Promise<ConfigFile[]> {
  const main = await session.query<{ path: string; setting: NonNullable<ConfigFile['setting']> }>(`
    select setting as path, name as setting from pg_settings
    where name in ('config_file', 'hba_file', 'ident_file') and setting <> '' order by 2`)
  const sources = await session.query<{ path: string }>(`
    select distinct sourcefile as path from pg_settings where sourcefile is not null order by 1`)
  const named = new Set(main.map(({ path }) => path))
  return [...main, ...sources.filter(({ path }) => !named.has(path))]
}

const SETTINGS = [
  'server_version',
  'cluster_name',
  'port',
  'data_directory',
  'config_file',
  'hba_file',
  'ident_file',
  'wal_level',
  'archive_mode',
  'archive_command',
  'archive_library',
  'archive_timeout',
  'full_page_writes',
  'stats_temp_directory',
  'checkpoint_timeout',
  'max_connections',
  'summarize_wal',
]

/** pg_settings leaves out what the role may not see, where SHOW and current_setting() would fail (P5). */
async function readSettings(session: Session): Promise<Map<string, string>> {
  const rows = await session.query<{ name: string; setting: string | null }>(
    'select name, setting from pg_settings where name = any ($1::text[])',
    [SETTINGS],
  )
  return new Map(rows.map(({ name, setting }) => [name, setting ?? '']))
}

/** The oldest and the newest major whose backup functions and file formats we know (P10). */
const SUPPORTED_MAJORS = { oldest: 13, newest: 18 }

/** Refuses a server that we do not know (P10), unless forced; nothing older than 13 can be forced. */
export function checkServerVersion(
  server: Pick<ServerInfo, 'major' | 'version'>,
  options: { force?: boolean } = {},
): void {
  const { oldest, newest } = SUPPORTED_MAJORS
  if (server.major >= oldest && (server.major <= newest || options.force === true)) return
  throw new ToolError('refused', `PostgreSQL ${server.version} is not supported: ${oldest} to ${newest} are`)
}

/** A tablespace other than pg_default and pg_global. */
export interface Tablespace {
  oid: number
  name: string
  /** Where its symbolic link points; a relative path for an in-place tablespace (T5). */
  location: string
}

/** The tablespaces of the cluster (S9). */
export async function listTablespaces(session: Session): Promise<Tablespace[]> {
  const rows = await session.query<{ oid: string; name: string; location: string | null }>(`
    select oid::text, spcname as name, pg_tablespace_location(oid) as location from pg_tablespace
    where spcname not in ('pg_default', 'pg_global') order by oid`)
  return rows.map(({ oid, name, location }) => ({ oid: Number(oid), name, location: location ?? '' }))
}

/** The names of the databases by OID (S9). */
export async function listDatabases(session: Session): Promise<Map<number, string>> {
  const rows = await session.query<{ oid: string; name: string }>('select oid::text, datname as name from pg_database')
  return new Map(rows.map(({ oid, name }) => [Number(oid), name]))
}

/** The server's clock; a client's may be wrong, and times of backups are compared with times in the WAL (S6). */
export async function databaseClock(session: Session): Promise<Date> {
  const [row] = await session.query<{ now: string }>(
    `select (extract(epoch from clock_timestamp()) * 1000)::text as now`,
  )
  return new Date(Number(row?.now))
}

/** Whether the server replays WAL (S8). */
export async function isInRecovery(session: Session): Promise<boolean> {
  const [row] = await session.query<{ answer: string }>('select pg_is_in_recovery()::text as answer')
  return row?.answer === 'true'
}

/** The WAL segment that the server writes to. Not on a standby. */
export async function currentWalSegment(session: Session): Promise<string> {
  const [row] = await session.query<{ name: string }>('select pg_walfile_name(pg_current_wal_insert_lsn()) as name')
  return row?.name ?? ''
}

/**
 * Ends the current WAL segment, so that it is archived, and returns its name (S11).
 *
 * On an idle server pg_switch_wal() does nothing, since a segment that holds nothing new is not worth switching; a
 * logical message makes it hold something. It needs no privilege, unlike a restore point, and replay ignores it.
 */
export async function switchWal(session: Session): Promise<string> {
  const { walSegmentSize } = await readServer(session)
  const [row] = await withGrantHint(session, 'pg_switch_wal()', async () => {
    await session.query(`select pg_logical_emit_message(false, 'pgsluice', 'end of segment')`)
    return await session.query<{ lsn: string; segment: string }>(
      'select lsn::text, pg_walfile_name(lsn) as segment from pg_switch_wal() as lsn',
    )
  })
  // The LSN is the one after the switch record, which may be the next segment's first byte: pg_walfile_name() would name
  // this segment or the next one depending on the version (E4). Only its timeline is taken from there.
  const lastByte = parseLsn(row?.lsn ?? '') - 1n
  const timeline = Number.parseInt(row?.segment.slice(0, 8) ?? '', 16)
  return segmentName(timeline, segmentNumberAt(lastByte, walSegmentSize), walSegmentSize)
}

/** Writes a named restore point and returns its LSN. Needs a GRANT for other roles than superusers. */
export async function createRestorePoint(session: Session, name: string): Promise<string> {
  const [row] = await withGrantHint(session, 'pg_create_restore_point(text)', () =>
    session.query<{ lsn: string }>('select pg_create_restore_point($1)::text as lsn', [name]),
  )
  return formatLsn(parseLsn(row?.lsn ?? ''))
}

/** What pg_stat_archiver says. */
export interface ArchiverStatus {
  archivedCount: number
  lastArchivedSegment: string | undefined
  lastArchivedAt: Date | undefined
  failedCount: number
  lastFailedSegment: string | undefined
  lastFailedAt: Date | undefined
}

/** The state of the server's archiver, to explain why a segment does not arrive. */
export async function archiverStatus(session: Session): Promise<ArchiverStatus> {
  const [row] = await session.query<Record<string, string | null>>(`
    select archived_count::text, last_archived_wal, (extract(epoch from last_archived_time) * 1000)::text as archived_at,
      failed_count::text, last_failed_wal, (extract(epoch from last_failed_time) * 1000)::text as failed_at
    from pg_stat_archiver`)
  const date = (text: string | null | undefined): Date | undefined =>
    text === null || text === undefined ? undefined : new Date(Number(text))
  return {
    archivedCount: Number(row?.['archived_count'] ?? 0),
    lastArchivedSegment: row?.['last_archived_wal'] ?? undefined,
    lastArchivedAt: date(row?.['archived_at']),
    failedCount: Number(row?.['failed_count'] ?? 0),
    lastFailedSegment: row?.['last_failed_wal'] ?? undefined,
    lastFailedAt: date(row?.['failed_at']),
  }
}
