/** Reads the settings out of a YAML file's text; every mistake is named with file and line. */
import { isMap, isScalar, LineCounter, parseDocument } from './yaml-library.js'
import { ToolError } from '../errors.js'
import { nearestName } from './nearest.js'
import { SETTING_NAMES, SETTINGS, type SettingName } from './settings.js'

/** One setting of a file, not yet parsed. */
export interface FileSetting {
  name: SettingName
  value: unknown
  /** `pgsluice.yaml:3` */
  source: string
}

/** The settings in `text`. Throws ToolError `configuration` for what is no YAML and for unknown names. */
export function parseConfigFile(text: string, path: string): FileSetting[] {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const [mistake] = document.errors
  if (mistake) throw new ToolError('configuration', `"${path}" is no valid YAML: ${firstLine(mistake.message)}`)
  const contents: unknown = document.contents
  if (contents === null || (isScalar(contents) && contents.value === null)) return []
  if (!isMap(contents)) {
    throw new ToolError('configuration', `"${path}" must hold settings, one a line: "repository: s3://bucket/prefix"`)
  }
  return contents.items.map(({ key, value }) => {
    const name = isScalar(key) ? String(key.value) : ''
    const line = isScalar(key) && key.range ? lines.linePos(key.range[0]).line : 1
    const source = `${path}:${line}`
    if (!Object.hasOwn(SETTINGS, name)) {
      const nearest = nearestName(name.replaceAll('_', '-').toLowerCase(), SETTING_NAMES)
      throw new ToolError('configuration', `unknown setting "${name}" (${source})`, {
        hint: nearest ? `Did you mean "${nearest}"?` : `There are: ${SETTING_NAMES.join(', ')}.`,
      })
    }
    return { name: name as SettingName, value: isScalar(value) ? value.value : undefined, source }
  })
}

function firstLine(text: string): string {
  return text.replace(/\n[^]*/, '')
}
