/**
 * Colours, only where the stream itself is a terminal that has them: archive_command's messages go into the server's log,
 * whatever else the environment promises (CI=true does).
 */
import type { WriteStream } from 'node:tty'
import pc from 'picocolors'

/** For results, on stdout. */
export const colors = colorsOf(process.stdout)
/** For messages, on stderr. */
export const messageColors = colorsOf(process.stderr)

function colorsOf(stream: WriteStream): ReturnType<typeof pc.createColors> {
  // a stream that is no terminal has no such member, and undefined would let the environment decide
  const isTerminal: unknown = stream.isTTY
  return pc.createColors(isTerminal === true && stream.hasColors())
}
