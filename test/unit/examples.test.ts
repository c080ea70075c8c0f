/**
 * The examples against those who read them: systemd, cron, Kubernetes, Docker, and pgsluice itself, which parses every command
 * line in them, so that none goes stale.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { CommanderError, type Command } from 'commander'
import { Cron } from 'croner'
import { parse } from 'yaml'
import { settingFlags } from '#src/cli/options.js'
import { createProgram } from '#src/cli/program.js'
import { parseSetting, SETTING_NAMES, type SettingName } from '#src/config/settings.js'
import { unknownVariables, variableOf } from '#src/config/variables.js'
import {
  commandsIn,
  cronLines,
  dockerList,
  exampleFiles,
  linesOf,
  pathOfExample,
  readCronJob,
  readExample,
} from '../support/example-files.js'
import { MAIN } from '../support/command-line.js'
import { ROOT } from '../support/oracles.js'

const FILES = exampleFiles()
const files = (pattern: RegExp): string[] => FILES.filter((file) => pattern.test(file))
const UNITS = files(/^systemd\/.*\.(service|timer)$/)
const CRONTABS = files(/^cron\/[a-z-]+$/)
const MANIFESTS = files(/^kubernetes\/.*\.yaml$/)
const DOCKERFILE = 'docker/Dockerfile'

describe('the examples', () => {
  it('are all of a kind that is checked here', () => {
    const checked = [...UNITS, ...CRONTABS, ...MANIFESTS, DOCKERFILE, 'docker/Dockerfile.dockerignore', 'README.md']
    assert.deepEqual(FILES, checked.sort())
  })

  for (const file of FILES) {
    const commands = commandsIn(file)
    for (const { words } of commands) {
      it(`start pgsluice as it can be started: ${words.join(' ')} (${file})`, async () => {
        assert.deepEqual(await problemsOf(words), [])
      })
    }
    if (/\.service$|^cron|^kubernetes/.test(file) && !file.includes('failed@')) {
      it(`name a command of pgsluice: ${file}`, () => assert.ok(commands.length > 0))
    }
  }

  it('set variables of pgsluice that there are, to what they can be', () => {
    const pods = MANIFESTS.flatMap((file) => readCronJob(file).spec.jobTemplate.spec.template.spec.containers)
    const inPods = pods.flatMap(({ env = [] }) => env.map(({ name, value = '' }) => [name, value] as const))
    const inLines = FILES.flatMap(linesOf).flatMap((line) => {
      const match = /^(?:Environment=|export )?(PGSLUICE_[A-Z_]+)=(.*)$/.exec(line)
      return match === null ? [] : [[match[1]!, match[2]!] as const]
    })
    const variables = [...inPods, ...inLines].filter(([name]) => name.startsWith('PGSLUICE_'))
    assert.ok(variables.length > 0)
    assert.deepEqual(unknownVariables(variables.map(([name]) => name)), [])
    for (const [name, value] of variables) {
      const setting = SETTING_NAMES.find((candidate) => variableOf(candidate) === name)
      if (setting !== undefined) assert.ok('value' in parseSetting(setting, value), `${name}=${value}`)
    }
  })
})

/** What the program would refuse: the command and its arguments, and the values of its settings. Nothing is carried out. */
async function problemsOf(words: readonly string[]): Promise<string[]> {
  const program = createProgram('0')
  let flags: Record<string, string> | undefined
  const disarm = (command: Command): void => {
    command.configureOutput({ writeOut: () => undefined, writeErr: () => undefined })
    if (command.commands.length === 0) {
      command.action(() => {
        flags = settingFlags(command.opts())
      })
    }
    command.commands.forEach(disarm)
  }
  disarm(program)
  try {
    await program.parseAsync(words, { from: 'user' })
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return []
    return [String(error)]
  }
  if (flags === undefined) return ['no command was run']
  return Object.entries(flags).flatMap(([name, value]) => {
    if (!(SETTING_NAMES as readonly string[]).includes(name)) return []
    const result = parseSetting(name as SettingName, value)
    return 'problem' in result ? [`--${name} ${value}: ${result.problem}`] : []
  })
}

describe('the units for systemd', () => {
  let directory = ''
  const missing = spawnSync('systemd-analyze', ['--version']).error !== undefined
  const skip = missing && 'systemd-analyze is not installed'
  /** Runs systemd-analyze on the copies of the units; its output, once it had nothing to say against them. */
  const analyze = (...args: string[]): string => {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { cwd: directory, encoding: 'utf8' })
    assert.equal(status, 0, `${args.join(' ')}: ${stdout}${stderr}`)
    // It warns of a directive that it does not know, and goes on.
    assert.equal(stderr, '')
    return stdout
  }

  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'pgsluice-units-'))
    for (const file of UNITS) {
      // verify looks whether the program is there: so it is the one of this checkout.
      const unit = readExample(file).replaceAll('/usr/local/bin/pgsluice', MAIN)
      writeFileSync(path.join(directory, path.basename(file)), unit)
    }
  })
  after(() => rmSync(directory, { recursive: true }))

  it('have nothing that systemd does not take', { skip }, () => {
    analyze('verify', '--man=no', ...UNITS.map((file) => `./${path.basename(file)}`))
  })

  it('give each timer its service, each service its timer, and a failure somebody who hears of it', () => {
    const services = UNITS.filter((file) => file.endsWith('.service') && !file.includes('@'))
    assert.deepEqual(
      UNITS.filter((file) => file.endsWith('.timer')),
      services.map((file) => file.replace('.service', '.timer')),
    )
    for (const file of services) assert.ok(linesOf(file).includes('OnFailure=pgsluice-failed@%N.service'), file)
    assert.ok(UNITS.includes('systemd/pgsluice-failed@.service'))
  })

  it('run at times that systemd understands', { skip }, () => {
    const calendars = UNITS.flatMap(linesOf).flatMap((line) => /^OnCalendar=(.*)$/.exec(line)?.[1] ?? [])
    assert.equal(calendars.length, UNITS.filter((file) => file.endsWith('.timer')).length)
    for (const calendar of calendars) assert.match(analyze('calendar', calendar), /Next elapse: \w/)
  })

  it('leave a program little that it could do besides', { skip }, () => {
    for (const file of UNITS.filter((name) => name.endsWith('.service') && !name.includes('@'))) {
      // The measure is 0 to 100; a service without any of it has 96.
      analyze('security', '--offline=yes', '--threshold=20', `./${path.basename(file)}`)
    }
  })
})

describe('the files for cron', () => {
  for (const file of CRONTABS) {
    it(`have lines that cron takes: ${file}`, () => {
      assert.ok(readExample(file).endsWith('\n'), 'cron leaves out a last line that does not end')
      const lines = cronLines(file)
      assert.ok(lines.length > 0)
      for (const { schedule, user, command } of lines) {
        assert.ok(new Cron(schedule, { paused: true, mode: '5-part' }).nextRun() instanceof Date, schedule)
        assert.match(user, /^(postgres|pgsluice)$/)
        assert.doesNotMatch(command, /(?<!\\)%/, 'cron takes a percent sign for the end of a line')
        assert.equal(spawnSync('sh', ['-n', '-c', command]).status, 0, command)
      }
    })
  }
})

describe('the manifests for Kubernetes', () => {
  const schemas = path.join(ROOT, '.cache', 'kubernetes-schemas', '1.37.0')
  const skip = !existsSync(schemas) && 'the schemas are not installed: run "node scripts/install-oracles.mjs"'

  it('have what its schemas know, and nothing else', { skip }, () => {
    const ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false })
    const schemaAt = (name: string): object => JSON.parse(readFileSync(path.join(schemas, name), 'utf8')) as object
    ajv.addSchema(schemaAt('_definitions.json'), '/api/_definitions.json')
    const validate = ajv.compile(schemaAt('cronjob-batch-v1.json'))
    for (const file of MANIFESTS) assert.ok(validate(readCronJob(file)), `${file}: ${ajv.errorsText(validate.errors)}`)
    const misspelt = readExample(MANIFESTS[0]!).replace('readOnlyRootFilesystem', 'readonlyRootFilesystem')
    assert.equal(validate(parse(misspelt)), false, 'the schemas are strict')
  })

  for (const file of MANIFESTS) {
    it(`keep to the restricted pod security standard, one at a time: ${file}`, () => {
      const { spec } = readCronJob(file)
      assert.ok(new Cron(spec.schedule, { paused: true, mode: '5-part' }).nextRun() instanceof Date)
      assert.equal(spec.concurrencyPolicy, 'Forbid')
      const pod = spec.jobTemplate.spec.template.spec
      assert.equal(pod.automountServiceAccountToken, false)
      assert.equal(pod.securityContext?.['runAsNonRoot'], true)
      assert.ok(Number(pod.securityContext['runAsUser']) > 0)
      assert.deepEqual(pod.securityContext['seccompProfile'], { type: 'RuntimeDefault' })
      const volumes = new Set(pod.volumes?.map(({ name }) => name))
      for (const { securityContext, resources, volumeMounts = [], name } of pod.containers) {
        assert.equal(securityContext?.['readOnlyRootFilesystem'], true)
        assert.equal(securityContext['allowPrivilegeEscalation'], false)
        assert.deepEqual(securityContext['capabilities'], { drop: ['ALL'] })
        assert.ok(resources?.limits?.['memory'] !== undefined && resources.requests?.['cpu'] !== undefined)
        for (const mount of volumeMounts) {
          assert.ok(volumes.has(mount.name), mount.name)
          assert.ok(mount.mountPath === '/tmp' || mount.readOnly === true, 'nothing else can be written')
        }
        for (const { onExitCodes } of spec.jobTemplate.spec.podFailurePolicy?.rules ?? []) {
          assert.equal(onExitCodes?.containerName, name)
        }
      }
    })
  }
})

describe('the Dockerfile', () => {
  const hadolint = path.join(ROOT, '.cache', 'hadolint', '2.15.1', 'hadolint')
  const skip = !existsSync(hadolint) && 'hadolint is not installed: run "node scripts/install-oracles.mjs"'
  const lines = linesOf(DOCKERFILE)

  it('has nothing that hadolint objects to', { skip }, () => {
    const { status, stdout, stderr } = spawnSync(hadolint, [pathOfExample(DOCKERFILE)], { encoding: 'utf8' })
    assert.equal(status, 0, stdout + stderr)
  })

  it('starts from images of a known major, fetches nothing by itself, and runs as a number that is not root', () => {
    const stages = lines.filter((line) => line.startsWith('FROM '))
    const own = stages.flatMap((line) => / AS (\w+)$/.exec(line)?.[1] ?? [])
    const bases = stages.map((line) => line.split(' ')[1]!).filter((image) => !own.includes(image))
    assert.ok(bases.length > 0)
    for (const image of bases) assert.match(image, /^(node|postgres):\$\{(NODE|POSTGRES)_MAJOR\}-bookworm(-slim)?$/)
    for (const arg of lines.filter((line) => line.startsWith('ARG '))) assert.match(arg, /^ARG \w+_MAJOR=\d+$/)
    assert.deepEqual(
      lines.filter((line) => line.startsWith('ADD ') || /\b(curl|wget)\b/.test(line)),
      [],
    )
    const last = lines.slice(lines.findLastIndex((line) => line.startsWith('FROM ')))
    assert.match(last.findLast((line) => line.startsWith('USER ')) ?? '', /^USER [1-9]\d*:[1-9]\d*$/)
    assert.deepEqual(
      last.filter((line) => line.startsWith('RUN ')),
      [],
      'nothing is run in the image that is kept',
    )
  })

  it('starts the program without a shell, where the package has it', () => {
    const { bin } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { bin: Record<string, string> }
    const [node, main] = dockerList(DOCKERFILE, 'ENTRYPOINT')
    assert.equal(node, 'node')
    assert.equal(main, `/opt/pgsluice/lib/node_modules/pgsluice/${bin['pgsluice']!}`)
  })

  it('leaves out of its context nothing that a build of the package reads', () => {
    const { files: packed } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { files: string[] }
    const kept = linesOf('docker/Dockerfile.dockerignore').filter((line) => line.startsWith('!'))
    const wanted = [...packed.filter((name) => name !== 'dist'), 'package.json', 'package-lock.json', 'tsconfig.json']
    for (const name of [...wanted, 'scripts', 'README.md', 'LICENSE']) assert.ok(kept.includes(`!${name}`), name)
  })
})
