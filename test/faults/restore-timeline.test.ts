/**
 * Which timeline a restored server is told to follow, whatever histories the archive holds: one that does not pass through
 * the backup keeps the server from starting (I9), and of two with WAL after their fork none is picked silently (rule 9).
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { RestoreOptions } from '#src/commands/restore.js'
import { formatLsn, parseLsn } from '#src/postgres/lsn.js'
import { parseWalFileName, segmentName, segmentNumberAt } from '#src/postgres/wal-segment.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
import { walKey } from '#src/repository/layout.js'
import { skippableFrame } from '#src/streams/zstd-compress.js'
import { compressStream } from '#src/streams/zstd-stream.js'
import { whyNoCommandLine } from '../support/command-line.js'
import { FileRepository } from '../support/file-repository.js'

const obstacle = await whyNoCommandLine()

async function walObject(name: string, text: string): Promise<Buffer> {
  const content = Buffer.from(text)
  const sha256 = createHash('sha256').update(content).digest('hex')
  const pieces = [skippableFrame(Buffer.from(JSON.stringify({ name, size: content.length, sha256 })), 0x184d2a50)]
  for await (const piece of compressStream([content], { level: 3 })) pieces.push(piece)
  return Buffer.concat(pieces)
}

describe('the timeline of a restored server', { skip: obstacle ?? false }, () => {
  let repository: FileRepository
  let record: BackupRecord
  /** LSNs: before the end of the backup, at the end of the archive, and in the segment behind it. */
  let [early, end] = ['', '']

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    record = await repository.backUp(cluster)
    early = record.start.lsn
    const size = BigInt(record.walSegmentSize)
    end = formatLsn((parseLsn(record.stop.lsn) / size + 1n) * size)
  })
  after(() => repository.close())

  /** Names a segment, counted from the first behind the end of the archive. */
  const segmentKey = (timeline: number, index: number): string => {
    const size = record.walSegmentSize
    const name = segmentName(timeline, segmentNumberAt(parseLsn(end), size) + BigInt(index), size)
    return walKey(record.cluster, parseWalFileName(name)!)
  }

  interface Case {
    name: string
    /** History files by timeline; `!` for one that cannot be read. */
    histories: () => Record<number, string>
    /** Segments behind the end of what the server wrote, by timeline. */
    wal?: [timeline: number, index: number][]
    options?: Partial<RestoreOptions>
    /** What the server is told to follow; or the refusal. */
    timeline?: string
    refusal?: RegExp
    warning?: RegExp
  }
  const cases: Case[] = [
    { name: 'is its own where there is no other', histories: () => ({}), timeline: 'current' },
    {
      name: 'of a standby is the latest, also in time to come',
      histories: () => ({}),
      options: { standby: true },
      timeline: 'latest',
    },
    {
      name: 'is the newest where every timeline descends from the backup, and each ended where the next began',
      histories: () => ({ 2: `1\t${end}\tx\n`, 3: `1\t${end}\tx\n2\t${end}\tx\n` }),
      timeline: '3',
    },
    {
      name: 'of a standby is the latest across promotions',
      histories: () => ({ 2: `1\t${end}\tx\n`, 3: `1\t${end}\tx\n2\t${end}\tx\n` }),
      options: { standby: true },
      timeline: 'latest',
    },
    {
      name: 'is that of the backup where the only other was forked before the backup ended (I9)',
      histories: () => ({ 2: `1\t${early}\tx\n` }),
      wal: [
        [1, 0],
        [2, 0],
      ],
      timeline: 'current',
      warning: /the archive also has timeline 2, which began at .*: it does not hold the backup/,
    },
    {
      name: 'is the newest that holds the backup where a newer one does not (I9)',
      histories: () => ({ 2: `1\t${end}\tx\n`, 3: `1\t${early}\tx\n` }),
      wal: [
        [2, 0],
        [3, 0],
      ],
      timeline: '2',
      warning: /also has timeline 3, which began at .*: it does not hold the backup/,
    },
    {
      name: 'is asked for where the timeline that was left went on (rule 9)',
      histories: () => ({ 2: `1\t${end}\tx\n` }),
      wal: [
        [1, 0],
        [2, 0],
      ],
      refusal:
        /timelines 1 and 2 each have WAL after their fork[^]*--target-timeline: 1 \(.*\), 2 \(timeline 2, which left/,
    },
    {
      name: 'is asked for where a sibling has WAL (rule 9)',
      histories: () => ({ 2: `1\t${end}\tx\n`, 3: `1\t${end}\tx\n` }),
      wal: [
        [2, 0],
        [3, 0],
      ],
      refusal: /timelines 2 and 3 each have WAL/,
    },
    {
      name: 'is the one that was named',
      histories: () => ({ 2: `1\t${end}\tx\n`, 3: `1\t${end}\tx\n` }),
      wal: [
        [2, 0],
        [3, 0],
      ],
      options: { targetTimeline: '2' },
      timeline: '2',
    },
    {
      name: 'of a standby is named where the server, counting up, would come to another',
      histories: () => ({ 3: `1\t${end}\tx\n` }),
      options: { standby: true },
      timeline: '3',
    },
    {
      name: 'is not that of a history which cannot be read',
      histories: () => ({ 2: '!' }),
      timeline: 'current',
      warning: /timeline 2 is passed over: could not read the history file of timeline 2/,
    },
  ]
  for (const { name, histories, wal = [], options = {}, timeline, refusal, warning } of cases) {
    test(name, async () => {
      const changes: Record<string, Buffer> = {}
      for (const [number, text] of Object.entries(histories())) {
        const file = `${number.padStart(8, '0')}.history`
        changes[`${record.cluster}/wal/${file}.zst`] = await walObject(file, text)
      }
      for (const [number, index] of wal) changes[segmentKey(number, index)] = Buffer.from('not read')
      const warnings: string[] = []
      const targetDirectory = repository.newTarget()
      const ended = await repository.damaged(changes, () =>
        repository.restore({ ...options, targetDirectory }, (event) => {
          if (event.type === 'warning') warnings.push(event.message)
        }),
      )
      if (refusal) {
        assert.equal(ended.exitCode, 4)
        assert.match(ended.message, refusal)
        assert.ok(!existsSync(targetDirectory))
        return
      }
      assert.equal(ended.exitCode, 0, ended.message)
      const settings = readFileSync(path.join(targetDirectory, 'postgresql.auto.conf'), 'utf8')
      assert.match(settings, new RegExp(`^recovery_target_timeline = '${timeline}'$`, 'm'))
      assert.equal(warnings.length, warning ? 1 : 0, warnings.join('\n'))
      if (warning) assert.match(warnings[0]!, warning)
    })
  }
})
