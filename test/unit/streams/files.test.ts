import { createFrameMemory } from '#src/archive/archive-source.js'
import { ToolError } from '#src/errors.js'
import { ExactFile } from '#src/streams/exact-length.js'
import { FileWriter } from '#src/streams/file-writer.js'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, beforeEach, test } from 'node:test'

const home = mkdtempSync(path.join(tmpdir(), 'pgsluice-files-'))
const file = Buffer.from(path.join(home, 'it'))
after(() => rmSync(home, { recursive: true }))
beforeEach(() => rmSync(file.toString(), { recursive: true, force: true }))

function readAll(size: number, pieces: readonly number[]): { bytes: Buffer; padded: boolean } {
  const opened = ExactFile.open(file, size)
  assert.ok(opened)
  try {
    const bytes = Buffer.alloc(size, 0xaa)
    let at = 0
    for (const piece of pieces) {
      opened.read(bytes.subarray(at, at + piece))
      at += piece
    }
    assert.equal(opened.rest, size - at)
    return { bytes, padded: opened.padded }
  } finally {
    opened.close()
  }
}

for (const [what, written, announced] of [
  ['of the announced size', 1000, 1000],
  ['that is longer', 5000, 1000],
  ['that is shorter', 300, 1000],
  ['that is empty', 0, 1000],
] as const) {
  test(`ExactFile gives exactly the announced bytes of a file ${what} (F1, F2)`, () => {
    const content = randomBytes(written)
    writeFileSync(file, content)
    const wanted = Buffer.alloc(announced)
    content.copy(wanted)
    for (const pieces of [[1000], [400, 600], [1, 999]]) {
      const { bytes, padded } = readAll(announced, pieces)
      assert.ok(bytes.equals(wanted))
      assert.equal(padded, written < announced)
    }
  })
}

test('ExactFile reads again what changed, and zeros for what is gone (C5)', () => {
  writeFileSync(file, Buffer.alloc(100, 1))
  const opened = ExactFile.open(file, 100)!
  const piece = Buffer.alloc(50)
  opened.read(piece)
  writeFileSync(file, Buffer.alloc(100, 2))
  opened.readAgain(piece, 0)
  assert.ok(piece.equals(Buffer.alloc(50, 2)))
  truncateSync(file, 25)
  opened.readAgain(piece, 0)
  assert.ok(piece.equals(Buffer.concat([Buffer.alloc(25, 2), Buffer.alloc(25)])))
  assert.equal(opened.rest, 50)
  opened.close()
})

test('ExactFile.open() gives undefined for a file that is gone (F4)', () => {
  assert.equal(ExactFile.open(file, 10), undefined)
})

for (const [what, make] of [
  ['a symbolic link', (): void => symlinkSync('/etc/passwd', file)],
  ['a dangling link', (): void => symlinkSync('/no/such/file', file)],
  ['a directory', (): void => mkdirSync(file)],
  ['a FIFO that nobody writes to', (): void => void execFileSync('mkfifo', [file.toString()])],
] as const) {
  test(`ExactFile.open() throws on ${what}, and neither follows nor waits (F8)`, () => {
    make()
    assert.throws(
      () => ExactFile.open(file, 10),
      (error) =>
        error instanceof ToolError && error.code === 'file-system' && error.message.includes(`"${file.toString()}"`),
    )
  })
}

const ALIGNED = createFrameMemory().bytes

const noLimits =
  process.platform === 'linux' ? false : 'this machine cannot say which descriptors are open: it has no /proc'

/** How many descriptors of this process lead to the file; nothing where there is no /proc. */
function openDescriptors(): number {
  if (noLimits !== false) return 0
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`) === file.toString()
    } catch {
      return false // that of the directory itself
    }
  }).length
}

for (const [size, pieces] of [
  [0, [0]],
  [5, [5]],
  [1024 * 1024, [1024 * 1024]],
  [3 * 1024 * 1024, [1024 * 1024, 2 * 1024 * 1024]],
  [2 * 1024 * 1024 + 777, [1024 * 1024, 1024 * 1024 + 777]],
  [1024 * 1024 + 1000, [1000, 1024 * 1024]],
] as const) {
  for (const [where, memory] of [
    ['page-aligned memory', ALIGNED],
    ['any memory', new Uint8Array(4 * 1024 * 1024).subarray(3)],
  ] as const) {
    test(`FileWriter writes ${size} bytes in ${pieces.length} pieces from ${where}`, async () => {
      const content = randomBytes(size)
      const writer = new FileWriter(file, { size, mode: 0o640 })
      let at = 0
      for (const length of pieces) {
        const piece = memory.subarray(0, length)
        piece.set(content.subarray(at, at + length))
        at += length
        await writer.write(piece, true)
      }
      assert.equal(writer.rest, 0)
      await writer.finish()
      assert.ok(readFileSync(file).equals(content))
      assert.equal(statSync(file).mode & 0o7777, 0o640)
    })
  }
}

test('FileWriter writes in order what is given before the last write ended, and finishes after it', async () => {
  const rooms = [ALIGNED, createFrameMemory().bytes]
  const size = 5 * 1024 * 1024 + 99
  const content = randomBytes(size)
  const writer = new FileWriter(file, { size, mode: 0o600 })
  const lengths = [2 * 1024 * 1024, 3 * 1024 * 1024 + 99]
  const writes = lengths.map((length, index) => {
    const piece = rooms[index]!.subarray(0, length)
    piece.set(content.subarray(index * lengths[0]!, index * lengths[0]! + length))
    return writer.write(piece, true)
  })
  const finished = writer.finish()
  assert.equal(writer.rest, 0)
  await Promise.all([...writes, finished])
  assert.ok(readFileSync(file).equals(content))
  assert.equal(openDescriptors(), 0)
})

test('FileWriter rejects what it cannot write, says which file, and closes it', { skip: noLimits }, () => {
  // the limit of 3 MiB a file, in a process of its own: a failure in the middle of a direct write
  const script = `
    import { createFrameMemory } from ${JSON.stringify(import.meta.resolve('#src/archive/archive-source.js'))}
    import { FileWriter } from ${JSON.stringify(import.meta.resolve('#src/streams/file-writer.js'))}
    import { readdirSync, readlinkSync } from 'node:fs'
    process.on('SIGXFSZ', () => undefined)
    const path = Buffer.from(process.argv[1])
    const writer = new FileWriter(path, { size: 4 << 20, mode: 0o600 })
    const room = createFrameMemory().bytes
    const first = writer.write(room.subarray(0, 2 << 20), true)
    const second = writer.write(room.subarray(0, 2 << 20), true)
    const said = []
    for (const promise of [first, second, writer.finish()])
      await Promise.resolve(promise).then(() => said.push('done'), (error) => said.push(error.message))
    await writer.close()
    const open = readdirSync('/proc/self/fd').filter((fd) => {
      try { return readlinkSync('/proc/self/fd/' + fd) === process.argv[1] } catch { return false }
    })
    console.log(JSON.stringify({ said, open }))`
  const printed = execFileSync(
    '/bin/sh',
    ['-c', 'ulimit -f 6144; exec "$0" "$@"', process.execPath, '--input-type=module', '-e', script, file.toString()],
    { encoding: 'utf8' },
  )
  const { said, open } = JSON.parse(printed) as { said: string[]; open: string[] }
  const failure = `could not write "${file.toString()}": EFBIG: file too large, write`
  assert.deepEqual(said, ['done', failure, failure])
  assert.deepEqual(open, [])
})

test('FileWriter.close() leaves what was written, and no descriptor', async () => {
  const writer = new FileWriter(file, { size: 8 * 1024 * 1024, mode: 0o600 })
  const write = writer.write(ALIGNED.subarray(0, 1024 * 1024), false)
  await writer.close()
  await write
  assert.equal(statSync(file).size, 1024 * 1024)
  assert.equal(openDescriptors(), 0)
})

test('FileWriter sets the mode whatever the umask says (R3)', async () => {
  const before = process.umask(0o077)
  try {
    await new FileWriter(file, { size: 0, mode: 0o666 }).finish()
  } finally {
    process.umask(before)
  }
  assert.equal(statSync(file).mode & 0o7777, 0o666)
})

for (const [what, make] of [
  ['a file', (): void => writeFileSync(file, 'precious')],
  ['a link to a file', (): void => symlinkSync(path.join(home, 'victim'), file)],
  ['a dangling link', (): void => symlinkSync(path.join(home, 'new'), file)],
] as const) {
  test(`FileWriter refuses ${what} in its way, and changes nothing (R4)`, () => {
    writeFileSync(path.join(home, 'victim'), 'precious')
    make()
    assert.throws(() => new FileWriter(file, { size: 2 ** 21, mode: 0o600 }), /could not create ".*\/it": EEXIST/)
    assert.equal(readFileSync(path.join(home, 'victim'), 'utf8'), 'precious')
  })
}
