/**
 * Colours, only where the stream itself is a terminal that has them: archive_command's messages go into the server's log,
 * whatever else the environment promises (CI=true does).
 */
import pc from 'picocolors'

/** For results, on stdout. */
export const colors = pc.createColors(process.stdout.isTTY && process.stdout.hasColors())
/** For messages, on stderr. */
export const messageColors = pc.createColors(process.stderr.isTTY && process.stderr.hasColors())
