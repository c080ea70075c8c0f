/** Where a configuration file is looked for that nobody names. */

/** Found without being named, whatever the working directory is. */
export const SYSTEM_FILE = '/etc/pgsluice/pgsluice.yaml'
export const DEFAULT_FILES = ['pgsluice.yaml', SYSTEM_FILE]
