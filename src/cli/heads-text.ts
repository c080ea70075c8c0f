/** Where recovery may end, for people: after a fork there is more than one place (format rule 9). */
import { colors } from './colors.js'
import type { ListedHead } from '../commands/heads.js'
import { formatTime } from './format.js'

/** What a fork means, and a line or two for each head. */
export function headsText(heads: readonly ListedHead[]): string {
  const title = `${heads.length} timelines end with WAL of their own, so "latest" says nothing: restore needs --target-timeline`
  const lines = heads.map(({ description, last, lastStored }) => {
    const what = `  ${description}`
    return last === undefined ? what : `${what},\n    last ${last}, stored ${formatTime(lastStored ?? '')}`
  })
  return [colors.yellow(title), ...lines].join('\n')
}
