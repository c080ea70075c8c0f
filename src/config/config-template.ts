/** Writes a configuration file with what is known set, and everything else as a comment that tells what there is. */
import { stringify } from 'yaml'
import { describeSetting, SETTING_NAMES, type SettingName } from './settings.js'

/** Values as a person wrote them. */
export type ChosenValues = Partial<Record<SettingName, string>>

/** The text of the file. `schema` is where editors find the schema of the file on this host. */
export function configTemplate(values: ChosenValues, schema: string): string {
  const head = [
    `# yaml-language-server: $schema=${encodeURI(schema)}`,
    '#',
    '# Settings of pgsluice. A flag and a variable (--jobs, PGSLUICE_JOBS) count more than this file; "pgsluice config" shows',
    '# what counts, and where it comes from. Secrets do not belong here: the AWS SDK and libpq have files of their own.',
  ]
  const settings = SETTING_NAMES.map((name) => {
    const { meaning, byDefault } = describeSetting(name)
    const value = values[name]
    const about = `# ${meaning}${byDefault === '' ? '' : ` (default: ${byDefault})`}`
    return `${about}\n${value === undefined ? `# ${name}:` : `${name}: ${stringify(value, { lineWidth: 0 }).trim()}`}`
  })
  return `${[head.join('\n'), ...settings].join('\n\n')}\n`
}
