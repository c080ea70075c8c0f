import { findGapEvidence } from '#src/repository/wal-gap.js'
import { parseWalFileName } from '#src/postgres/wal-segment.js'
import { storeWal, WAL_CLUSTER, withDirectory } from './wal-scene.js'
import assert from 'node:assert/strict'
import { test } from 'node:test'

const segment = (timeline: number, number: number): string =>
  `0000000${timeline}00000000${number.toString(16).toUpperCase().padStart(8, '0')}`
/** Timeline 2 begins in the middle of segment 1B, timeline 3 exactly where 1E begins. */
const HISTORIES: Readonly<Record<string, string>> = {
  '00000002.history': '1\t0/1B00028\tno recovery target specified\n',
  '00000003.history': '1\t0/1B00028\tno recovery target specified\n2\t0/1E00000\tx\n',
}

const cases: readonly (readonly [
  what: string,
  stored: readonly string[],
  asked: string,
  evidence: RegExp | undefined,
])[] = [
  ['a later segment', [segment(1, 0x1a)], segment(1, 0x19), /"0{7}10{14}1A" is there/],
  ['a later .partial', [`${segment(1, 0x1b)}.partial`], segment(1, 0x1a), /1B\.partial" is there/],
  ['a later backup file', [`${segment(1, 0x1b)}.00000028.backup`], segment(1, 0x1a), /\.backup" is there/],
  ['nothing later', [segment(1, 0x19)], segment(1, 0x1a), undefined],
  ['its own .partial', [`${segment(1, 0x1a)}.partial`], segment(1, 0x1a), undefined],
  ['a later timeline without a history', [segment(2, 0x1b)], segment(1, 0x1a), undefined],
  ['a timeline that began behind it', ['00000002.history'], segment(1, 0x1a), /"00000002\.history" says .* 0\/1B00028/],
  ['a timeline that began in it', ['00000002.history'], segment(1, 0x1b), undefined],
  ['a timeline that began before it', ['00000002.history'], segment(1, 0x1c), undefined],
  ['a grandchild', ['00000003.history', segment(2, 0x1c)], segment(1, 0x1a), /"00000003\.history"/],
  ['a switch on a boundary', ['00000003.history'], segment(2, 0x1d), /"00000003\.history" says .* 0\/1E00000/],
  ['a switch on a boundary before it', ['00000003.history'], segment(2, 0x1e), undefined],
  [
    'a history behind folders of other timelines',
    [segment(1, 1), segment(2, 0x1c), segment(2, 0x1d), '00000003.history', segment(4, 1)],
    segment(1, 0x1a),
    /"00000003\.history"/,
  ],
  ['a history of that timeline itself', ['00000002.history'], segment(2, 0x1b), undefined],
  ['segments of its timeline', [segment(2, 0x1b)], '00000002.history', /1B" is there/],
  ['a timeline that descends from it', ['00000003.history'], '00000002.history', /"00000003\.history"/],
  ['other timelines only', [segment(1, 1), segment(3, 1), '00000002.history'], '00000004.history', undefined],
  ['later files where a .partial is wanted', [segment(1, 0x1b)], `${segment(1, 0x1a)}.partial`, undefined],
]

for (const [what, stored, asked, evidence] of cases) {
  test(`findGapEvidence() for "${asked}" with ${what}: ${evidence ? 'a gap' : 'none'} (G2, G6)`, async () => {
    await withDirectory(async ({ storage, directory }) => {
      for (const name of stored) await storeWal(storage, directory, name, HISTORIES[name] ?? name)
      const found = await findGapEvidence(storage, WAL_CLUSTER, parseWalFileName(asked)!)
      if (evidence) assert.match(found ?? '', evidence)
      else assert.equal(found, undefined)
    })
  })
}

test('findGapEvidence() takes a damaged history for no answer (G3)', async () => {
  await withDirectory(async ({ storage, directory }) => {
    await storeWal(storage, directory, '00000002.history', 'not a history\n')
    await assert.rejects(findGapEvidence(storage, WAL_CLUSTER, parseWalFileName(segment(1, 1))!), { code: 'damaged' })
  })
})
