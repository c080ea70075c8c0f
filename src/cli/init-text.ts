/** What `init` did, and what remains to be done, for people. */
import type { InitResult } from '../commands/init.js'

/** Lines to copy. */
export function initText({ file, archiveCommand, grants }: InitResult): string {
  const sets = grants.map(({ servers, statements }) => [
    `For a superuser, in the database that pgsluice connects to (${servers}):`,
    '',
    ...statements.map((statement) => `  ${statement}`),
    '',
  ])
  return [
    `wrote "${file}"`,
    '',
    'In postgresql.conf (a restart, where archive_mode was off):',
    '',
    '  archive_mode = on',
    `  archive_command = '${archiveCommand.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`,
    '  archive_timeout = 60s',
    '',
    ...sets.flat(),
    "The server's user must be able to read the file. Then: pgsluice check",
  ].join('\n')
}
