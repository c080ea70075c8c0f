/** Name and version of this program, as documents and `--version` say it. */
import { createRequire } from 'node:module'

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }

/** `0.1.0` */
export const VERSION = version
/** `pgsluice 0.1.0` */
export const TOOL = `pgsluice ${version}`
