import {
  TAR_END_BYTES,
  packedTarHeader,
  tarHeader,
  tarHeaderBound,
  tarHeaderProblem,
  tarPadding,
  type TarMember,
} from '#src/streams/tar-header.js'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import tarStream from 'tar-stream'

const MEMBER: TarMember = {
  name: Buffer.from('base/5/16384'),
  type: 'file',
  size: 10,
  mode: 0o600,
  uid: 70,
  gid: 71,
  mtimeMs: 1_700_000_000_000,
}

const members: Record<string, Partial<TarMember>> = {
  'an ordinary file': {},
  'an empty file': { size: 0 },
  'a file of one block': { size: 512 },
  'a directory': { type: 'directory', size: 0, mode: 0o700, name: Buffer.from('base') },
  'a name of 100 bytes': { name: Buffer.from('n'.repeat(100)) },
  'a name of 300 bytes': { name: Buffer.from(`${'d'.repeat(150)}/${'f'.repeat(149)}`) },
  'a name that is not ASCII': { name: Buffer.from('base/größe-数') },
  'a name with a line break and an equals sign': { name: Buffer.from('base/a=b\nc') },
  'ids that six octal digits do not hold (F11)': { uid: 1_000_640_000, gid: 4_000_000_000 },
  'a time before 1970': { mtimeMs: -5000 },
  'a time after 2038': { mtimeMs: 5_000_000_000_000 },
}

async function tarOf(member: TarMember): Promise<Buffer> {
  const body = Buffer.alloc(member.size + tarPadding(member.size), 'x')
  return Buffer.concat([await tarHeader(member), body, Buffer.alloc(TAR_END_BYTES)])
}

for (const [what, change] of Object.entries(members)) {
  const member = { ...MEMBER, ...change }
  test(`tarHeader() of ${what} is read back by tar-stream and by tar`, async () => {
    const tar = await tarOf(member)
    const extract = tarStream.extract()
    const entries: tarStream.Header[] = []
    extract.on('entry', (header, stream, next) => {
      entries.push(header)
      stream.on('end', next).resume()
    })
    extract.end(tar)
    await once(extract, 'finish')
    const [header, ...more] = entries
    assert.deepEqual(more, [])
    assert.ok(header)
    assert.equal(header.name.replace(/\/$/, ''), member.name.toString())
    assert.equal(header.size, member.size)
    assert.equal(header.type, member.type)
    assert.equal(header.mode, member.mode)
    const pax = (header as unknown as { pax?: Record<string, string> | null }).pax ?? {}
    assert.equal(Number(pax['uid'] ?? header.uid), member.uid)
    assert.equal(Number(pax['gid'] ?? header.gid), member.gid)
    const listed = execFileSync('tar', ['--quoting-style=literal', '-tf', '-'], { input: tar }).toString()
    assert.equal(listed.replace(/\/?\n$/, ''), member.name.toString())
  })

  test(`tarHeaderBound() holds for ${what}`, async () => {
    const header = await tarHeader(member)
    assert.equal(header.length % 512, 0)
    assert.ok(header.length <= tarHeaderBound(member.name.length))
  })

  test(`tarHeader() of ${what} is the same in a block that held another header`, async () => {
    assert.deepEqual(await tarHeader(member, Buffer.alloc(512, 0xff)), await tarHeader(member))
  })

  if (member.type === 'file') {
    test(`tarHeaderProblem() finds nothing wrong with ${what}, and everything else`, async () => {
      const block = (await tarHeader(member)).subarray(-512)
      assert.equal(tarHeaderProblem(block, member.size), undefined)
      assert.match(tarHeaderProblem(block, member.size + 1) ?? '', /announces \d+ bytes instead of/)
      assert.match(tarHeaderProblem(block.subarray(1), member.size) ?? '', /cut off/)
      for (const at of [0, 110, 130, 156, 200]) {
        const changed = Buffer.from(block)
        changed[at]! ^= 1
        assert.match(tarHeaderProblem(changed, member.size) ?? '', /wrong checksum/, `byte ${at}`)
      }
    })
  }
}

test('tarHeader() keeps the bytes of a name that is not UTF-8, and GNU tar extracts it so (F11)', async () => {
  const name = Buffer.from([0x62, 0x61, 0x73, 0x65, 0x2f, 0xff, 0xfe, 0x41])
  const tar = await tarOf({ ...MEMBER, name })
  const listed = execFileSync('tar', ['--quoting-style=literal', '-tf', '-'], { input: tar })
  assert.ok(listed.equals(Buffer.concat([name, Buffer.from('\n')])))
})

test('tarHeader() announces sizes beyond 8 GiB (F12)', async () => {
  const size = 9 * 2 ** 30 + 5
  const header = await tarHeader({ ...MEMBER, size })
  assert.equal(tarHeaderProblem(header.subarray(-512), size), undefined)
})

test('tarHeaderProblem() refuses a header that announces no regular file', async () => {
  const header = await tarHeader({ ...MEMBER, type: 'directory', size: 0 })
  assert.match(tarHeaderProblem(header.subarray(-512), 0) ?? '', /does not announce a regular file/)
})

test('tarPadding() fills up to the next block', () => {
  assert.deepEqual([0, 1, 511, 512, 513].map(tarPadding), [0, 511, 1, 0, 511])
})

test('tarHeader() writes byte for byte what tar-stream writes, whether it asks it or not', async () => {
  const names = ['a', 'base/5/16384', 'n'.repeat(99), 'n'.repeat(100), 'pg_wal/', '\u00e9', 'a\u007fb', 'x y']
  for (const type of ['file', 'directory'] as const) {
    for (const name of names) {
      for (const [size, id, mtimeMs] of [
        [0, 0, 0],
        [4096, 0o777777, 1_700_000_000_999.5],
        [0o77777777777, 70, 2 ** 31 * 1000],
        [0o100000000000, 0o1000000, -5],
      ] as const) {
        const member: TarMember = { ...MEMBER, type, name: Buffer.from(name), size: type === 'file' ? size : 0 }
        for (const mode of [0o600, 0o100644, 0o7777]) {
          const whole = { ...member, mode, uid: id, gid: id, mtimeMs }
          assert.deepEqual(await tarHeader(whole), await packedTarHeader(whole), JSON.stringify(whole))
        }
      }
    }
  }
})
