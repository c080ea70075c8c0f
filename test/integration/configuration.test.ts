/** `config` and `init` as they are called: what is shown, what is written, and what is not. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { parse } from 'yaml'
import { newHome, removeHome } from '../support/cluster-registry.js'
import { environmentOfCommands, FRONT, MAIN, runCommand, whyNoCommandLine } from '../support/command-line.js'
import { assertValid } from '../support/schemas.js'
import { giveToServerUser } from '../support/server-user.js'

const obstacle = await whyNoCommandLine()

interface Explained {
  file: string | null
  settings: { name: string; value: string | null; kind: string; source?: string; overridden: { source: string }[] }[]
  environment: { name: string; value: string }[]
}

describe('config', { skip: obstacle ?? false }, () => {
  let home: string
  before(async () => {
    home = newHome()
    mkdirSync(path.join(home, 'place'))
    writeFileSync(path.join(home, 'place', 'pgsluice.yaml'), '# ours\nrepository: s3://backups/file\njobs: 2\n')
    await giveToServerUser(home)
  })
  after(() => removeHome(home))

  const SECRETS = {
    PGPASSWORD: 's3cr3t',
    AWS_SECRET_ACCESS_KEY: 's3cr3t',
    PGSLUICE_DBNAME: 'host=/tmp password=s3cr3t',
    PGSLUICE_ENDPOINT: 'https://me:s3cr3t@s3.example.net',
    PGHOST: 'db1',
  }

  it('names where settings came from that contradict each other, by file and line', async () => {
    writeFileSync(path.join(home, 'place', 'odd.yaml'), 'repository: file:///\n\njobs: 64\n')
    const env = { PGSLUICE_MEMORY: '128MiB' }
    const cwd = path.join(home, 'place')
    const { exitCode, stderr } = await runCommand(['plan', '--config', 'odd.yaml'], { cwd, env })
    assert.equal(exitCode, 2)
    assert.match(stderr, /64 jobs need \d+MiB of memory, .*128MiB \(jobs: odd\.yaml:3, memory: PGSLUICE_MEMORY\)/)
  })

  it('tells each value with its source, from file and line to flag, and what has no effect', async () => {
    const cwd = path.join(home, 'place')
    const env = { ...SECRETS, PGSLUICE_JOBS: '3', PGSLUICE_REGION: '' }
    const json = await runCommand(['config', '--json', '--jobs', '4'], { cwd, env })
    assert.equal(json.exitCode, 0, json.stderr)
    const explained = JSON.parse(json.stdout) as Explained
    assertValid('config-result', explained)
    const setting = (name: string): unknown => explained.settings.find((one) => one.name === name)
    assert.equal(explained.file, 'pgsluice.yaml')
    assert.deepEqual(setting('repository'), {
      ...{ name: 'repository', value: 's3://backups/file', kind: 'file', source: 'pgsluice.yaml:2', overridden: [] },
    })
    assert.deepEqual(setting('jobs'), {
      ...{ name: 'jobs', value: '4', kind: 'flag', source: '--jobs' },
      overridden: [
        { value: '3', kind: 'environment', source: 'PGSLUICE_JOBS' },
        { value: '2', kind: 'file', source: 'pgsluice.yaml:3' },
      ],
    })
    assert.deepEqual(setting('request-timeout'), {
      ...{ name: 'request-timeout', value: '60s', kind: 'default', overridden: [] },
    })
    assert.deepEqual(setting('region'), {
      ...{ name: 'region', value: 'AWS_REGION and the profile', kind: 'default', overridden: [] },
    })
    assert.deepEqual(
      explained.environment.filter(({ name }) => /^(PGHOST|PGPASSWORD|AWS_SECRET_ACCESS_KEY)$/.test(name)),
      [
        { name: 'AWS_SECRET_ACCESS_KEY', value: '***' },
        { name: 'PGHOST', value: 'db1' },
        { name: 'PGPASSWORD', value: '***' },
      ],
    )

    const text = await runCommand(['config'], { cwd, env })
    assert.equal(text.exitCode, 0, text.stderr)
    assert.match(text.stdout, /^configuration file: pgsluice\.yaml$/m)
    assert.match(text.stdout, /^repository +s3:\/\/backups\/file +pgsluice\.yaml:2$/m)
    assert.match(text.stdout, /^endpoint +https:\/\/\*\*\*@s3\.example\.net +PGSLUICE_ENDPOINT$/m)
    for (const { stdout, stderr } of [json, text]) assert.doesNotMatch(stdout + stderr, /s3cr3t/)
  })
})

describe('init', { skip: obstacle ?? false }, () => {
  let home: string
  const at = (name: string): string => path.join(home, name)
  before(async () => {
    home = newHome()
    mkdirSync(at('data'))
    writeFileSync(at('data/PG_VERSION'), '14\n')
    await giveToServerUser(home)
  })
  after(() => removeHome(home))

  const REPOSITORY = ['--repository', 's3://backups/main']

  it('writes a file that pgsluice reads, for its owner and group alone, and never over another one', async () => {
    const args = ['init', '--json', ...REPOSITORY, '--output', at('one.yaml'), '--pgdata', at('data')]
    const first = await runCommand(args)
    assert.equal(first.exitCode, 0, first.stderr)
    const result = JSON.parse(first.stdout) as { archiveCommand: string; grants: { statements: string[] }[] }
    assertValid('init-result', result)
    assert.equal(result.archiveCommand, `${FRONT} --node ${process.execPath} push "%p" --config ${at('one.yaml')}`)
    assert.match(result.grants.map(({ statements }) => statements.join('\n')).join('|'), /^[^|]*pg_start_backup[^|]*$/)
    assert.equal(statSync(at('one.yaml')).mode & 0o027, 0, 'nobody else may read it, and the group may not write it')
    const text = readFileSync(at('one.yaml'), 'utf8')
    const schema = /^# yaml-language-server: \$schema=(.*)$/m.exec(text)?.[1] ?? ''
    assert.ok(statSync(schema).isFile())
    assertValid('pgsluice-yaml', parse(text))
    assert.deepEqual(parse(text), { repository: 's3://backups/main', pgdata: at('data') })

    const again = await runCommand(args)
    assert.equal(again.exitCode, 4)
    assert.match(again.stderr, /one\.yaml" exists already\nHINT: Edit it, or name another file with --output/)
    assert.equal(readFileSync(at('one.yaml'), 'utf8'), text)
  })

  it('says both kinds of grants where nothing tells the version, and the lines of postgresql.conf', async () => {
    const { exitCode, stdout, stderr } = await runCommand(['init', ...REPOSITORY, '--output', at('two.yaml')])
    assert.equal(exitCode, 0, stderr)
    for (const text of [
      'pg_backup_start(text, boolean)',
      'pg_start_backup(text, boolean, boolean)',
      'archive_command = ',
    ])
      assert.ok(stdout.includes(text), text)
  })

  for (const [name, args, says] of [
    ['no repository and nobody to ask', [], /no repository is named\nHINT: Give --repository/],
    ['a password', [...REPOSITORY, '--dbname', 'host=x password=s3cr3t'], /a password in "dbname" would be written/],
    ['a version that is none', [...REPOSITORY, '--postgres-version', '9'], /Expected a major version such as 17/],
  ] as const) {
    it(`refuses ${name}, and writes nothing`, async () => {
      const result = await runCommand(['init', ...args, '--output', at('none.yaml')])
      assert.equal(result.exitCode, 2)
      assert.match(result.stderr, says)
      assert.doesNotMatch(result.stderr, /s3cr3t/)
      assert.equal(existsSync(at('none.yaml')), false)
    })
  }

  const skip = hasScript() ? false : 'this machine cannot make a terminal with script(1)'
  it('asks on a terminal, and after Ctrl-C leaves nothing behind', { skip }, async () => {
    const command = `'${process.execPath}' '${MAIN}' init --output '${at('three.yaml')}'`
    const env = { ...environmentOfCommands(), HOME: home, PGSLUICE_REPOSITORY: '', PGDATA: '' }
    const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: home, env })
    let seen = ''
    let isInterrupted = false
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const before = seen
      seen += text
      if (!before.includes('repository') && seen.includes('file:///path)')) child.stdin.write('nonsense\r')
      // the question that is asked again, not the refusal before it
      const isAskedAgain = seen.split('Where is the repository').length > 2
      if (isAskedAgain && !isInterrupted) child.stdin.write('\x03')
      isInterrupted ||= isAskedAgain
    })
    const [code] = (await once(child, 'close')) as [number | null]
    assert.equal(code, 130, seen)
    assert.match(seen, /expected s3:\/\/bucket\/prefix or file:\/\/\/path/)
    assert.deepEqual(
      readdirSync(home).filter((file) => /three|pgsluice/.test(file)),
      [],
    )
  })
})

function hasScript(): boolean {
  return process.platform === 'linux' && spawnSync('script', ['--version']).status === 0
}
