/** The findings of a check, for people. */
import { colors } from './colors.js'
import type { Finding } from '../commands/findings.js'

/** One line a finding, and what to do about it. */
export function checkText(findings: readonly Finding[]): string {
  const marks = { ok: colors.green('ok     '), warning: colors.yellow('warning'), failure: colors.red('FAILURE') }
  return findings
    .map(
      ({ about, result, message, hint }) =>
        `${marks[result]}  ${about}: ${message}${hint === undefined ? '' : `\n         HINT: ${hint}`}`,
    )
    .join('\n')
}
