/** Two restores into one directory: the one that runs is left alone, what one that is gone has left is nobody's (R1, R17). */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository, type RestoreEnd } from '../support/file-repository.js'

const MARKER = 'pgsluice.restore-in-progress'
const obstacle = await whyNoCommandLine()

describe('restore into a directory with the marker of another', { skip: obstacle ?? false }, () => {
  let repository: FileRepository

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    await repository.backUp(cluster)
  })
  after(() => repository.close())

  test('restore refuses a directory while another writes or syncs there, and does not disturb it', async () => {
    const targetDirectory = repository.newTarget()
    const others: Promise<RestoreEnd>[] = []
    const ended = await repository.restore({ targetDirectory }, (event) => {
      const at = event.type === 'archive-extracted' || event.type === 'restore-synced' || event.type === 'step'
      if (at && readMarkerOf(targetDirectory) !== undefined) others.push(repository.restore({ targetDirectory }))
    })
    assert.deepEqual(ended, { exitCode: 0, message: '' })
    assert.ok(others.length >= 3)
    const ends = await Promise.all(others)
    for (const { exitCode, message } of ends) {
      assert.equal(exitCode, 4, message)
      assert.match(message, /another restore is running in|is not empty/)
    }
    const running = /another restore is running in "[^"]+"\nHINT: Wait for its end/
    assert.ok(
      ends.some(({ message }) => running.test(message)),
      ends.map(({ message }) => message).join('\n'),
    )
    assert.ok(!readdirSync(targetDirectory).some((name) => name.includes('pgsluice')))
  })

  test('of two restores that begin at once one succeeds, and the other is refused', async () => {
    const targetDirectory = repository.newTarget()
    const ends = await Promise.all([repository.restore({ targetDirectory }), repository.restore({ targetDirectory })])
    assert.deepEqual(ends.map(({ exitCode }) => exitCode).sort(), [0, 4], JSON.stringify(ends))
  })

  const startTicks = (): string =>
    readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19]!
  const abandoned: Record<string, () => string> = {
    'of a process that is gone': () => JSON.stringify({ host: hostname(), pid: 2 ** 30 }),
    'of a process whose id another one has now': () =>
      JSON.stringify({ host: hostname(), pid: process.pid, startTicks: `${Number(startTicks()) + 1}` }),
    'of another host': () => JSON.stringify({ host: 'elsewhere.invalid', pid: process.pid, startTicks: startTicks() }),
    'of an older version': () => 'A restore began here and has not ended.\n',
  }
  for (const [name, text] of Object.entries(abandoned)) {
    test(`restore takes over a directory with the marker ${name}`, async () => {
      const targetDirectory = fill(repository.newTarget(), text())
      assert.deepEqual(await repository.restore({ targetDirectory }), { exitCode: 0, message: '' })
      assert.ok(!readdirSync(targetDirectory).some((file) => file === 'left' || file.includes('pgsluice')))
    })
  }

  test('restore does not take a cluster for abandoned where a marker was left beside its pg_control', async () => {
    const targetDirectory = fill(repository.newTarget(), abandoned['of a process that is gone']!())
    mkdirSync(path.join(targetDirectory, 'global'))
    writeFileSync(path.join(targetDirectory, 'global/pg_control'), 'precious')
    const { exitCode, message } = await repository.restore({ targetDirectory })
    assert.equal(exitCode, 4, message)
    assert.match(message, /is not empty/)
    assert.equal(readFileSync(path.join(targetDirectory, 'global/pg_control'), 'utf8'), 'precious')
  })
})

function fill(directory: string, marker: string): string {
  mkdirSync(directory)
  writeFileSync(path.join(directory, MARKER), marker)
  writeFileSync(path.join(directory, 'left'), 'behind')
  return directory
}

function readMarkerOf(directory: string): string | undefined {
  try {
    return readFileSync(path.join(directory, MARKER), 'utf8')
  } catch {
    return undefined
  }
}
