import {
  archiveTargetBytes,
  EMPTY_TAR_BYTES,
  memberBytes,
  objectBound,
  planArchives,
} from '#src/archive/archive-plan.js'
import { filesOf, PackedFiles } from '#src/archive/file-columns.js'
import { FileTable } from '#src/archive/file-table.js'
import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { test } from 'node:test'

const MIB = 1024 * 1024

function tableOf(sizes: readonly number[]): FileTable {
  const table = new FileTable(4)
  for (const [index, size] of sizes.entries()) {
    const path = Buffer.from(`base/${'d'.repeat(index % 130)}/${index}`)
    table.add({ path, size, mode: 0o600, uid: 1, gid: 2, mtimeMs: 3 })
  }
  return table
}

test('planArchives() plans each file exactly once, in bounded archives, largest first, whatever the sizes', () => {
  for (let round = 0; round < 100; round++) {
    const largest = 10 ** randomInt(1, 9)
    const sizes = Array.from({ length: randomInt(0, 400) }, () => randomInt(0, largest))
    const [targetBytes, maxFiles] = [randomInt(2000, 10 ** 8), randomInt(1, 50)]
    const table = tableOf(sizes)
    const plans = planArchives(table, { targetBytes, maxFiles })
    const rows = plans.flatMap((plan) => [...plan.rows])
    assert.deepEqual(
      [...rows].sort((a, b) => a - b),
      sizes.map((_, index) => index),
    )
    for (const [index, plan] of plans.entries()) {
      assert.ok(plan.rows.length > 0)
      assert.ok(plan.tarBytes <= targetBytes || plan.rows.length === 1, 'only a single file may be larger')
      assert.ok(plan.rows.length <= maxFiles)
      assert.ok(index === 0 || plan.tarBytes <= plans[index - 1]!.tarBytes)
      const bytes = [...plan.rows].map((row) => memberBytes(table.pathLength(row), table.size(row)))
      assert.equal(plan.tarBytes, EMPTY_TAR_BYTES + bytes.reduce((sum, size) => sum + size, 0))
      assert.ok(objectBound(plan.tarBytes, plan.rows.length) > plan.tarBytes)
      assert.deepEqual(
        [...plan.rows],
        [...plan.rows].sort((a, b) => a - b),
        'files stay in the order of the walk',
      )
    }
  }
})

test('planArchives() plans nothing for no file', () => {
  assert.deepEqual(planArchives(tableOf([]), { targetBytes: MIB }), [])
})

for (const [total, jobs, near, far] of [
  [0, 1, 32, 32],
  [200, 2, 32, 110],
  [1024, 2, 32, 128],
  [16 * 1024, 4, 256, 256],
  [1024 * 1024, 2, 1024, 1024],
] as const) {
  test(`archiveTargetBytes() of ${total} MiB for ${jobs} jobs is ${near} MiB, and ${far} MiB where the store is far`, () => {
    assert.equal(archiveTargetBytes(total * MIB, jobs), near * MIB)
    assert.equal(Math.floor(archiveTargetBytes(total * MIB, jobs, { isFar: true }) / MIB), far)
  })
}

test('FileTable gives back what was put in, by row and in columns, through every growth', () => {
  for (const checksumBytes of [4, 32]) {
    const table = new FileTable(checksumBytes)
    const directories = ['', 'global/', 'base/5/', 'base/50/', 'base/5/'].map((path) => Buffer.from(path))
    const files = Array.from({ length: 40_000 }, (_, index) => ({
      // any bytes, slashes among them
      path: Buffer.concat([directories[Math.floor(index / 300) % 5]!, randomBytes(randomInt(1, 40))]),
      size: randomInt(2 ** 40),
      mode: randomInt(0o10000),
      uid: randomInt(3) * 1_000_000_000,
      gid: randomInt(3),
      mtimeMs: 1_700_000_000_000 + index / 2,
      relationSegment: index % 3 === 0 ? undefined : index,
    }))
    const checksums = files.map(() => randomBytes(checksumBytes).toString('hex'))
    for (const [row, file] of files.entries()) assert.equal(table.add(file), row)
    assert.equal(table.length, files.length)
    const rows = Uint32Array.from([...files.keys()].reverse())
    const packed = new PackedFiles(files.length, checksumBytes)
    for (const member of filesOf(table.columns(rows))) {
      const { index } = member
      const { path, ...rest } = files[index]!
      assert.deepEqual(member, {
        ...rest,
        index,
        type: 'file',
        path: path.toString('latin1'),
        isConfiguration: member.isConfiguration,
      })
      if (index % 7 === 0) table.setVanished(index)
      else {
        const { size } = member
        packed.add({ index, size, offset: index * 2 ** 33, checksum: checksums[index]!, padded: index % 5 === 0 })
      }
    }
    assert.equal(table.setPacked(packed.columns()), 0)
    for (const [row, file] of files.entries()) {
      assert.deepEqual(table.walked(row), file)
      assert.equal(table.pathLength(row), file.path.length)
      const known = { offset: row * 2 ** 33, checksum: checksums[row], padded: row % 5 === 0 }
      assert.deepEqual(table.packed(row), row % 7 === 0 ? undefined : known)
    }
  }
})

test('FileTable throws for a file that no archive accounted for (F4): it would be missing unnoticed', () => {
  const table = tableOf([1, 2])
  assert.throws(() => table.packed(1), /no archive accounts for "base\/d\/1"/)
})

test('FileTable keeps the size that a grown configuration file was packed with (F1)', () => {
  const table = new FileTable(4)
  const row = table.add({ path: Buffer.from('a.conf'), size: 10, mode: 0o600, uid: 1, gid: 1, mtimeMs: 0 })
  const packed = new PackedFiles(1, 4)
  packed.add({ index: row, size: 25, offset: 512, checksum: '00000000', padded: false })
  assert.equal(table.setPacked(packed.columns()), 15, 'it tells by how much')
  assert.equal(table.walked(row).size, 25)
})

test('filesOf() tells configuration files by their place: those of others stay as long as they were (F1)', () => {
  const table = new FileTable(4)
  for (const path of ['a.conf', 'base/1/a.conf', 'a.conf.d']) {
    table.add({ path: Buffer.from(path), size: 1, mode: 0o600, uid: 1, gid: 1, mtimeMs: 0 })
  }
  const told = [...filesOf(table.columns(Uint32Array.of(0, 1, 2)))].map(({ isConfiguration }) => isConfiguration)
  assert.deepEqual(told, [true, false, false])
})
