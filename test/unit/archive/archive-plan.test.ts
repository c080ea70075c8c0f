import {
  archiveTargetBytes,
  EMPTY_TAR_BYTES,
  memberBytes,
  objectBound,
  planArchives,
} from '#src/archive/archive-plan.js'
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

test('FileTable gives back what was put in, through every growth of its columns', () => {
  for (const checksumBytes of [4, 32]) {
    const table = new FileTable(checksumBytes)
    const files = Array.from({ length: 3000 }, (_, index) => ({
      path: randomBytes(randomInt(1, 120)),
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
    for (const [index, checksum] of checksums.entries()) {
      if (index % 7 === 0) table.setVanished(index)
      else
        table.setPacked(index % 11, {
          index,
          size: table.size(index),
          offset: index * 2 ** 33,
          checksum,
          padded: index % 5 === 0,
        })
    }
    for (const [row, file] of files.entries()) {
      assert.deepEqual(table.walked(row), file)
      assert.equal(table.pathLength(row), file.path.length)
      const packed = { archive: row % 11, offset: row * 2 ** 33, checksum: checksums[row], padded: row % 5 === 0 }
      assert.deepEqual(table.packed(row), row % 7 === 0 ? undefined : packed)
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
  table.setPacked(0, { index: row, size: 25, offset: 512, checksum: '00000000', padded: false })
  assert.equal(table.walked(row).size, 25)
})
