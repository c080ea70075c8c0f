/**
 * Reads configuration files as the server does (guc-file.l): names in any case, an optional equals sign, quoted values,
 * comments, and the three kinds of include. The last assignment wins.
 */
import { dirname, isAbsolute, join } from 'node:path'

/** As deep as the server follows includes (CONF_FILE_MAX_DEPTH). */
export const MAX_DEPTH = 10
const INCLUDES = ['include', 'include_if_exists', 'include_dir']

/** How files are got at; neither rejects for what is not there. */
export interface ConfigurationFiles {
  /** The text of a file, or undefined where there is none. */
  read: (path: string) => Promise<string | undefined>
  /** Names in a directory; none where there is no such directory. */
  list: (path: string) => Promise<string[]>
}

/** An assignment or an include. */
export interface ConfigurationLine {
  /** From 1. */
  line: number
  /** In lower case. */
  name: string
  value: string
}

/** The assignments and includes of one file, in their order. */
export function parseConfiguration(text: string): ConfigurationLine[] {
  return text.split('\n').flatMap((content, index) => {
    const match = /^\s*([A-Za-z_][\w$.]*)(?:\s*=\s*|\s+|(?='))('(?:[^'\\]|''|\\.)*'|[^\s#']+)\s*(?:#.*)?$/.exec(
      content.trimEnd(),
    )
    if (!match?.[1] || match[2] === undefined) return []
    return [{ line: index + 1, name: match[1].toLowerCase(), value: unquote(match[2]) }]
  })
}

/** Whether a line names other files instead of a value. */
export function isInclude({ name }: ConfigurationLine): boolean {
  return INCLUDES.includes(name)
}

/** The files that an include in the file `path` names, whether they are there or not; of a directory those that are. */
export async function includedFiles(
  path: string,
  { name, value }: ConfigurationLine,
  files: ConfigurationFiles,
): Promise<string[]> {
  const included = includedPath(path, value)
  return name === 'include_dir' ? await configurationsIn(included, files) : [included]
}

/** What an include in the file `path` names. */
export function includedPath(path: string, value: string): string {
  return isAbsolute(value) ? value : join(dirname(path), value)
}

/**
 * Assignments of a file and of what it includes, in their order, names in lower case. What is included and not there is
 * passed over.
 */
export async function readConfiguration(
  path: string,
  text: string,
  files: ConfigurationFiles,
  depth = 0,
): Promise<[name: string, value: string][]> {
  const found: [string, string][] = []
  for (const line of parseConfiguration(text)) {
    if (!isInclude(line)) {
      found.push([line.name, line.value])
      continue
    }
    if (depth === MAX_DEPTH) continue
    for (const file of await includedFiles(path, line, files)) {
      const content = await files.read(file)
      if (content !== undefined) found.push(...(await readConfiguration(file, content, files, depth + 1)))
    }
  }
  return found
}

/**
 * The includes of pg_hba.conf or pg_ident.conf: the three directives (since 16), and the lists of names that `@file` stands
 * for (tokenize_auth_file() in hba.c).
 */
export function parseAccessIncludes(text: string): ConfigurationLine[] {
  return text.split('\n').flatMap((content, index) => {
    const at = index + 1
    const directive = /^\s*(include|include_if_exists|include_dir)\s+(?:"([^"]+)"|([^\s"#]+))/.exec(content)
    if (directive) return [{ line: at, name: directive[1] ?? '', value: directive[2] ?? directive[3] ?? '' }]
    const lists = content.replace(/#.*/, '').matchAll(/(?:^|[\s,])@(?:"([^"]+)"|([^\s,"]+))/g)
    return [...lists].map(([, quoted, plain]) => ({ line: at, name: 'include', value: quoted ?? plain ?? '' }))
  })
}

/** As GetConfFilesInDir(): what ends in .conf and is not hidden, in the order of the C locale. */
async function configurationsIn(directory: string, { list }: ConfigurationFiles): Promise<string[]> {
  const names = (await list(directory)).filter((name) => name.endsWith('.conf') && !name.startsWith('.'))
  return names.sort((a, b) => (a < b ? -1 : 1)).map((name) => join(directory, name))
}

/** As GUC_scanstr(): doubled quotes, and the escapes of C. */
function unquote(value: string): string {
  if (!value.startsWith("'")) return value
  const escapes: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }
  return value.slice(1, -1).replaceAll(/''|\\([0-7]{1,3}|.)/g, (whole, escaped: string | undefined) => {
    if (escaped === undefined) return "'"
    if (/^[0-7]/.test(escaped)) return String.fromCharCode(Number.parseInt(escaped, 8) & 0xff)
    return escapes[escaped] ?? escaped
  })
}
