/** The effective settings for people. */
import { colors } from './colors.js'
import type { ExplainedConfiguration } from './config.js'
import { table } from './table.js'

/** One line a setting; what a lower source said and does not count is below it. */
export function configText({ file, unreadFiles, settings, environment }: ExplainedConfiguration): string {
  const rows = settings.flatMap(({ name, value, kind, source, overridden }) => [
    [name, value ?? '', source ?? (value === null ? 'not set' : kind)],
    ...overridden.map((other) => ['', colors.dim(other.value), colors.dim(`${other.source} (has no effect)`)]),
  ])
  const files = [
    `configuration file: ${file ?? 'none'}`,
    ...unreadFiles.map((path) => `not read: ${path}, since only one file is`),
  ]
  const others = environment.map(({ name, value }) => [name, value])
  return [
    files.join('\n'),
    table([['SETTING', 'VALUE', 'SOURCE'], ...rows]),
    ...(others.length === 0 ? [] : [`variables that libpq and the AWS SDK read:\n${table(others)}`]),
  ].join('\n\n')
}
