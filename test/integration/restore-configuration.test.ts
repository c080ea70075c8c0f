/** `restore --config-dir`: a server that is configured outside its data directory, as Debian's are, comes back with its configuration. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { statSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { RestoreOptions } from '#src/commands/restore.js'
import { quoteShell } from '#src/postgres/recovery-settings.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
import { formatDocument } from '#src/repository/document.js'
import type { ReportEvent } from '#src/report.js'
import { FRONT, runCommand, whyNoCommandLine } from '../support/command-line.js'
import { FileRepository, type RestoreEnd } from '../support/file-repository.js'
import { bytesOf, linesOf, sha256, type Line } from '../support/index-lines.js'
import { filesBelow } from '../support/pgsluice.js'
import { availableMajors, postgresBinaries } from '../support/postgres-binaries.js'
import { query, startCluster, type Cluster } from '../support/postgres.js'
import { giveToServerUser, runAsServerUser } from '../support/server-user.js'

const MAJOR = availableMajors().at(-1)!
const obstacle = await whyNoCommandLine()

/** What the source is configured with, by the path below its /etc. Access files include others since 16. */
const FILES = [
  'main/postgresql.conf',
  'main/pg_hba.conf',
  'main/pg_ident.conf',
  'main/people',
  ...(MAJOR >= 16 ? ['main/more.hba'] : []),
  'main/conf.d/memory.conf',
  'main/conf.d/overridden.conf',
  'shared/all.conf',
]

describe('restore with a configuration directory', { skip: obstacle ?? false }, () => {
  let repository: FileRepository
  let record: BackupRecord
  /** Where the source has its configuration, and its data. */
  let etc: string
  let pgdata: string
  let source: Cluster

  before(async () => {
    repository = await FileRepository.create()
    const at = (name: string): string => path.join(repository.home, name)
    etc = at('etc')
    pgdata = at('data')
    const push = [FRONT, '--node', process.execPath, 'push'].map(quoteShell).join(' ')
    source = await startCluster({
      major: MAJOR,
      start: false,
      env: { PGSLUICE_CONFIG: '/dev/null' },
      settings: {
        archive_mode: 'on',
        archive_command: `${push} "%p" --repository ${quoteShell(repository.url)}`,
        hba_file: path.join(etc, 'main/pg_hba.conf'),
        ident_file: path.join(etc, 'main/pg_ident.conf'),
      },
    })
    for (const name of ['main/conf.d', 'main/empty.d', 'shared']) mkdirSync(path.join(etc, name), { recursive: true })
    for (const name of ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'])
      renameSync(path.join(source.pgdata, name), path.join(etc, 'main', name))
    const append = (name: string, text: string): void => {
      const file = path.join(etc, name)
      writeFileSync(file, `${existsSync(file) ? readFileSync(file, 'utf8') : ''}${text}\n`)
    }
    append('main/postgresql.conf', `data_directory = '${source.pgdata}'`)
    append('main/postgresql.conf', "include_dir = 'conf.d'\ninclude_dir 'empty.d'")
    append('main/postgresql.conf', `include '${etc}/shared/all.conf'`)
    append('main/conf.d/memory.conf', "work_mem = '7MB'\nshared_preload_libraries = 'auto_explain'")
    append('main/conf.d/overridden.conf', "# work_mem = '8MB'")
    append('shared/all.conf', "cluster_name = 'from outside'")
    append('main/people', 'someone')
    append('main/pg_hba.conf', 'local nobodys @people reject')
    if (MAJOR >= 16) append('main/pg_hba.conf', 'include more.hba')
    if (MAJOR >= 16) append('main/more.hba', 'local nobodys_other all reject')
    chmodSync(path.join(etc, 'main/postgresql.conf'), 0o644)
    chmodSync(path.join(etc, 'main/pg_hba.conf'), 0o640)
    await giveToServerUser(repository.home)
    await source.start({ settings: { config_file: path.join(etc, 'main/postgresql.conf') } })
    await query(source, 'create table kept as select 42 as answer')
    record = await repository.backUp(source)
    pgdata = source.pgdata
    await source.stop()
  })
  after(async () => {
    await source.destroy()
    repository.close()
  })

  const key = (name: string): string => `${record.cluster}/base/${record.id}/${name}`

  /** Restores within this process; `warnings` is what was said. */
  async function restoreTo(
    configDirectory: string,
    options: Partial<RestoreOptions> = {},
  ): Promise<RestoreEnd & { warnings: string[] }> {
    const warnings: string[] = []
    const report = (event: ReportEvent): void => {
      if (event.type === 'warning') warnings.push(event.message)
    }
    return { ...(await repository.restore({ configDirectory, ...options }, report)), warnings }
  }

  test('the files come back as they were, and a server starts with them beside its source', async () => {
    const directory = `${repository.newTarget()} of it's`
    const target = repository.newTarget()
    const options = ['--target-dir', target, '--config-dir', directory, '--repository', repository.url]
    const { exitCode, stdout, stderr } = await runCommand(['restore', ...options], {
      env: { PGSLUICE_CONFIG: '/dev/null' },
    })
    assert.equal(exitCode, 0, stderr)
    const placed = (name: string): string =>
      path.join(directory, name.startsWith('main/') ? name.slice(5) : path.join('outside', etc, name))
    for (const name of FILES) {
      const [before, now] = [path.join(etc, name), placed(name)]
      assert.deepEqual(readFileSync(now), readFileSync(before), name)
      const [was, is] = [statSync(before), statSync(now)]
      assert.deepEqual([is.mode, is.uid, is.gid], [was.mode, was.uid, was.gid], name)
    }
    assert.equal(filesBelow(directory).length, FILES.length)
    assert.deepEqual(readdirSync(path.join(directory, 'empty.d')), [])
    const line = (name: string, what: RegExp): number =>
      readFileSync(placed(name), 'utf8')
        .split('\n')
        .findIndex((text) => what.test(text)) + 1
    const main = placed('main/postgresql.conf')
    for (const [setting, meaning] of [
      ['data_directory', `"${pgdata}", and not "${target}", which was restored`],
      ['hba_file', `"${etc}/main/pg_hba.conf", and not the restored "${placed('main/pg_hba.conf')}"`],
      ['ident_file', `"${etc}/main/pg_ident.conf", and not the restored "${placed('main/pg_ident.conf')}"`],
    ] as const) {
      const at = line('main/postgresql.conf', new RegExp(`^${setting}`))
      assert.ok(stderr.includes(`"${main}", line ${at}: ${setting} is ${meaning}`), stderr)
    }
    const at = line('main/postgresql.conf', /^include '/)
    const include = `"${main}", line ${at}: include "${etc}/shared/all.conf" does not lead to its copy`
    assert.ok(stderr.includes(`${include} "${placed('shared/all.conf')}"`), stderr)
    assert.doesNotMatch(stderr, /conf\.d|lived outside/)

    // the settings of all servers of these tests, which the source had on its command line
    const sockets = path.join(repository.home, 's')
    mkdirSync(sockets, { recursive: true })
    writeFileSync(path.join(directory, 'empty.d/test.conf'), socketSettings(sockets))
    for (const each of [sockets, directory]) await giveToServerUser(each)
    const command = / start it with: (.*)/.exec(stdout)?.[1] ?? assert.fail(stdout)
    const programs = path.dirname(postgresBinaries(MAJOR).postgres)
    const env = { PATH: `${programs}:${process.env['PATH']}`, PGSLUICE_CONFIG: '/dev/null' }
    const shell = (text: string) => runAsServerUser('sh', ['-c', text], { env })
    const started = await shell(`${command} -l '${target}.log'`)
    try {
      assert.equal(started.exitCode, 0, `${started.stderr}${readFileSync(`${target}.log`, 'utf8')}`)
      const server = Object.assign(Object.create(source) as Cluster, { socketDirectory: sockets })
      const settings = await query<{ name: string; setting: string }>(
        server,
        `select name, setting from pg_settings where name in
          ('config_file', 'cluster_name', 'data_directory', 'hba_file', 'ident_file', 'work_mem') order by 1`,
      )
      assert.deepEqual(Object.fromEntries(settings.map(({ name, setting }) => [name, setting])), {
        cluster_name: 'from outside',
        config_file: main,
        data_directory: target,
        hba_file: placed('main/pg_hba.conf'),
        ident_file: placed('main/pg_ident.conf'),
        work_mem: '7168',
      })
      assert.deepEqual(await query(server, 'select answer from kept'), [{ answer: 42 }])
      assert.deepEqual(
        await query(server, `select user_name[1] as who from pg_hba_file_rules where database[1] = 'nobodys'`),
        [{ who: 'someone' }],
      )
      assert.deepEqual(await query(server, 'select error from pg_hba_file_rules where error is not null'), [])
    } finally {
      await shell(`pg_ctl -D '${target}' -m immediate -w stop`)
    }
  })

  test('into the places of the source only that leads elsewhere which has another place', async () => {
    const away = path.join(repository.home, 'away')
    mkdirSync(away)
    renameSync(etc, path.join(away, 'etc'))
    renameSync(pgdata, path.join(away, 'data'))
    try {
      const ended = await restoreTo(path.join(etc, 'main'), { targetDirectory: pgdata })
      assert.equal(ended.exitCode, 0, ended.message)
      assert.deepEqual(
        ended.warnings.map((warning) => warning.replace(/.*: /, '')),
        [`include "${etc}/shared/all.conf" does not lead to its copy "${etc}/main/outside${etc}/shared/all.conf"`],
      )
    } finally {
      rmSync(pgdata, { recursive: true, force: true })
      rmSync(etc, { recursive: true })
      renameSync(path.join(away, 'etc'), etc)
      renameSync(path.join(away, 'data'), pgdata)
    }
  })

  test('an isolated copy preloads what the restored configuration says', async () => {
    const targetDirectory = repository.newTarget()
    const directory = repository.newTarget()
    const ended = await restoreTo(directory, { targetDirectory, isolated: true })
    assert.equal(ended.exitCode, 0, ended.message)
    const settings = readFileSync(path.join(targetDirectory, 'postgresql.auto.conf'), 'utf8')
    assert.match(settings, /^shared_preload_libraries = 'auto_explain'$/m)
  })

  const places: { name: string; make: (target: string) => string; exitCode: number; says: RegExp }[] = [
    {
      name: 'is not empty',
      make: () => {
        const directory = repository.newTarget()
        mkdirSync(directory)
        writeFileSync(path.join(directory, 'postgresql.conf'), 'precious')
        return directory
      },
      exitCode: 4,
      says: /the configuration directory "[^"]+" is not empty\nHINT: .* nothing is overwritten/,
    },
    {
      name: 'is the data directory',
      make: (target) => target,
      exitCode: 2,
      says: /the configuration directory "[^"]+" and "[^"]+" must not hold one another/,
    },
    {
      name: 'lies in the data directory',
      make: (target) => path.join(target, 'etc'),
      exitCode: 2,
      says: /must not hold one another/,
    },
    { name: 'holds the data directory', make: (target) => path.dirname(target), exitCode: 2, says: /must not hold/ },
    {
      name: 'is a file',
      make: () => {
        const file = repository.newTarget()
        writeFileSync(file, 'precious')
        return file
      },
      exitCode: 3,
      says: /could not look into "[^"]+": .*ENOTDIR/,
    },
    {
      name: 'cannot be made',
      make: () => {
        const file = repository.newTarget()
        symlinkSync('/proc/none', file)
        return path.join(file, 'etc')
      },
      exitCode: 3,
      says: /could not write to "[^"]+": /,
    },
  ]
  for (const { name, make, exitCode, says } of places) {
    test(`restore refuses a configuration directory that ${name}, and leaves everything as it was`, async () => {
      const targetDirectory = repository.newTarget()
      const directory = make(targetDirectory)
      const snapshot = (): unknown => [
        existsSync(targetDirectory),
        existsSync(directory) && statSync(directory).mtimeMs,
        existsSync(directory) && readFileSync(statSync(directory).isFile() ? directory : '/dev/null'),
      ]
      const isHome = directory === repository.home
      const before = isHome ? undefined : snapshot()
      const ended = await restoreTo(directory, { targetDirectory })
      assert.equal(ended.exitCode, exitCode, ended.message)
      assert.match(ended.message, says)
      if (!isHome) assert.deepEqual(snapshot(), before)
    })
  }

  const damages: { name: string; sabotage: () => Record<string, Buffer | undefined>; says: RegExp }[] = [
    {
      name: 'was edited',
      sabotage: () => {
        const name = key('config/pg_hba.conf')
        return { [name]: Buffer.from(repository.read(name).toString().replace('reject', 'trust!')) }
      },
      says: /config\/pg_hba\.conf" is damaged: its SHA-256 is not the recorded one/,
    },
    {
      name: 'was cut',
      sabotage: () => ({ [key('config/memory.conf')]: Buffer.from('work') }),
      says: /config\/memory\.conf" has 4 bytes instead of/,
    },
    {
      name: 'is missing',
      sabotage: () => ({ [key('config/postgresql.conf')]: undefined }),
      says: /config\/postgresql\.conf" is missing/,
    },
  ]
  for (const { name, sabotage, says } of damages) {
    test(`restore refuses a configuration file that ${name}, before anything is written (R2)`, async () => {
      const directory = repository.newTarget()
      const ended = await repository.damaged(sabotage(), () => restoreTo(directory))
      assert.equal(ended.exitCode, 3, ended.message)
      assert.match(ended.message, says)
      assert.ok(!existsSync(directory))
    })
  }

  test('a restore that fails later leaves no configuration', async () => {
    const directory = repository.newTarget()
    const label = key('backup_label')
    const damage = { [label]: Buffer.alloc(repository.read(label).length) }
    const ended = await repository.damaged(damage, () => restoreTo(directory))
    assert.equal(ended.exitCode, 3, ended.message)
    assert.ok(!existsSync(directory))
  })

  /** Restores with another index of objects; every hash above it is right. */
  async function restoreForged(edit: (line: Line) => Line | undefined): Promise<RestoreEnd & { warnings: string[] }> {
    const name = key('objects.jsonl.zst')
    const recordKey = `${record.cluster}/backups/${record.id}.json`
    const lines = (await linesOf(repository.read(name))).flatMap((line) => {
      const edited = String(line['name']).startsWith('config/') ? edit(line) : line
      return edited === undefined ? [] : [edited]
    })
    const objects = await bytesOf(lines)
    const { checksum: _, ...head } = JSON.parse(repository.read(recordKey).toString()) as Line
    const forged = formatDocument({ ...head, objects: { ...record.objects, sha256: sha256(objects) } })
    return repository.damaged({ [name]: objects, [recordKey]: Buffer.from(forged) }, async () => {
      const directory = repository.newTarget()
      const ended = await restoreTo(directory)
      assert.equal(existsSync(directory), ended.exitCode === 0)
      return ended
    })
  }

  const tricks: Record<string, { change: Line; says: RegExp }> = {
    'is relative': { change: { path: '../outside.conf' }, says: /"\.\.\/outside\.conf", which is no absolute path/ },
    'leads up': { change: { path: '/etc/main/../../outside.conf' }, says: /names the path "etc\/main\/\.\.\// },
    'holds a NUL': { change: { path: '/etc/x\0y' }, says: /names the path "etc\/x\\u0000y"/ },
    'is the root': { change: { path: '/' }, says: /names the path ""/ },
  }
  for (const [name, { change, says }] of Object.entries(tricks)) {
    test(`restore refuses a configuration file whose path ${name} (R4)`, async () => {
      const ended = await restoreForged((line) => (line['name'] === 'config/people' ? { ...line, ...change } : line))
      assert.equal(ended.exitCode, 3, ended.message)
      assert.match(ended.message, says)
    })
  }

  test('restore refuses two configuration files of one place', async () => {
    const ended = await restoreForged((line) => ({ ...line, path: `${etc}/main/postgresql.conf` }))
    assert.equal(ended.exitCode, 3, ended.message)
    assert.match(ended.message, /goes to "postgresql\.conf", and so does another file of this backup/)
  })

  test('what an older version stored without places comes back side by side, which is said', async () => {
    const ended = await restoreForged(({ path: _path, mode: _mode, setting: _setting, ...line }) => line)
    assert.equal(ended.exitCode, 0, ended.message)
    assert.match(ended.warnings.join('\n'), /the backup does not say where its configuration files lay/)
  })

  test('a backup without such files has nothing for a configuration directory', async () => {
    const ended = await restoreForged(() => undefined)
    assert.equal(ended.exitCode, 2, ended.message)
    assert.match(ended.message, /has no configuration files beside its data directory\nHINT: .*leave out --config-dir/)
  })
})

function socketSettings(directory: string): string {
  return `port = 5432\nlisten_addresses = ''\nfsync = off\nunix_socket_directories = '${directory}'\n`
}
