/** The files of examples/, and every command line of pgsluice in them, as whoever reads the file would start it. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'
import { ROOT } from './oracles.js'

/** A command line in an example: the words after `pgsluice`. */
export interface ExampleCommand {
  file: string
  words: string[]
}

const EXAMPLES = path.join(ROOT, 'examples')

/** Paths relative to examples/, sorted. */
export function exampleFiles(): string[] {
  return readdirSync(EXAMPLES, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(EXAMPLES, path.join(entry.parentPath, entry.name)))
    .sort()
}

/** Where an example lies. */
export function pathOfExample(file: string): string {
  return path.join(EXAMPLES, file)
}

export function readExample(file: string): string {
  return readFileSync(pathOfExample(file), 'utf8')
}

/** The lines of a file that are no comments, with those that go on joined. */
export function linesOf(file: string): string[] {
  const lines = readExample(file).replaceAll('\\\n', ' ').split('\n')
  return lines.map((line) => line.trim()).filter((line) => line !== '' && !/^[#;]/.test(line))
}

/** Lines of /etc/cron.d: five fields of time, a user, a command for the shell. */
export function cronLines(file: string): { schedule: string; user: string; command: string }[] {
  return linesOf(file)
    .filter((line) => !/^[A-Z_]+=/.test(line))
    .map((line) => {
      const [, schedule = '', user = '', command = ''] = /^((?:\S+\s+){5})(\S+)\s+(.+)$/.exec(line) ?? []
      return { schedule: schedule.trim(), user, command }
    })
}

/** What of a container in a pod we read; the schemas of Kubernetes judge the rest. */
export interface Container {
  name: string
  image: string
  command?: string[]
  args?: string[]
  env?: { name: string; value?: string }[]
  securityContext?: Record<string, unknown>
  resources?: { limits?: Record<string, string>; requests?: Record<string, string> }
  volumeMounts?: { name: string; mountPath: string; readOnly?: boolean }[]
}

/** A CronJob, as far as we read it. */
export interface CronJob {
  kind: string
  spec: {
    schedule: string
    concurrencyPolicy?: string
    jobTemplate: {
      spec: {
        podFailurePolicy?: { rules: { onExitCodes?: { containerName: string } }[] }
        template: {
          spec: {
            automountServiceAccountToken?: boolean
            securityContext?: Record<string, unknown>
            containers: Container[]
            volumes?: { name: string }[]
          }
        }
      }
    }
  }
}

export function readCronJob(file: string): CronJob {
  return parse(readExample(file)) as CronJob
}

/** A list in JSON, as ENTRYPOINT and CMD of a Dockerfile have it; the last of that name counts. */
export function dockerList(file: string, instruction: string): string[] {
  const line = linesOf(file).findLast((candidate) => candidate.startsWith(`${instruction} `))
  return JSON.parse(line?.slice(instruction.length) ?? '[]') as string[]
}

/** Every command line of pgsluice in a file. */
export function commandsIn(file: string): ExampleCommand[] {
  return linesFor(file)
    .map(splitWords)
    .map(([program = '', ...words]) => ({ program, file, words }))
    .filter(({ program }) => path.basename(program) === 'pgsluice')
    .map(({ words }) => ({ file, words }))
}

function linesFor(file: string): string[] {
  if (file.endsWith('.service')) {
    return linesOf(file).flatMap((line) => /^Exec\w+=[-@:+!]*(.*)$/.exec(line)?.[1] ?? [])
  }
  if (file.startsWith('cron/')) return cronLines(file).flatMap(({ command }) => shellCommands(command))
  if (file.startsWith('kubernetes/')) {
    const { containers } = readCronJob(file).spec.jobTemplate.spec.template.spec
    return containers.map(({ command = [], args = [] }) => quoteAll([...command, ...args]))
  }
  if (file.endsWith('Dockerfile')) {
    const [node, main, ...args] = [...dockerList(file, 'ENTRYPOINT'), ...dockerList(file, 'CMD')]
    return node === 'node' && main?.endsWith('/pgsluice/dist/main.js') === true ? [quoteAll(['pgsluice', ...args])] : []
  }
  const blocks = [...readExample(file).matchAll(/```sh\n(.*?)```/gs)].map(([, block = '']) => block)
  return blocks.flatMap((block) => block.replaceAll('\\\n', ' ').split('\n')).flatMap(shellCommands)
}

/** The simple commands of a line for the shell that begin, maybe behind `nice` and its like, with `pgsluice`. */
function shellCommands(line: string): string[] {
  return line
    .split(/\$\(|[()|&;<>]|\d>/)
    .map((piece) => piece.trim().replace(/^(?:(?:nice|timeout \S+|sudo -u \S+) )+/, ''))
    .filter((piece) => /^pgsluice(\s|$)/.test(piece))
}

function quoteAll(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(' ')
}

/** Words as a shell and systemd split them, without expansions. */
function splitWords(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) => word.replaceAll(/['"]/g, ''))
}
