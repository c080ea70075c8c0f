/**
 * Which timeline a restored server is told to follow, whatever histories the archive holds: one that does not pass through
 * the backup keeps the server from starting (I9), and of two with WAL after their fork none is picked silently (rule 9).
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { formatLsn, parseLsn } from '#src/postgres/lsn.js'
import type { BackupRecord } from '#src/repository/backup-record.js'
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
  /** LSNs before the end of the backup, and after all that is in the archive. */
  let [early, late] = ['', '']

  before(async () => {
    repository = await FileRepository.create()
    await using cluster = await repository.startCluster()
    record = await repository.backUp(cluster)
    early = record.start.lsn
    late = formatLsn(parseLsn(record.stop.lsn) + 64n * BigInt(record.walSegmentSize))
  })
  after(() => repository.close())

  const segmentKey = (timeline: string, log = 'AAAAAAAA'): string =>
    `${record.cluster}/wal/${timeline}/${log}/${timeline}${log}00000001.zst`

  interface Case {
    name: string
    /** History files by timeline; `!` for one that cannot be read. */
    histories: () => Record<number, string>
    /** Timelines that have a segment of WAL far after every fork. */
    wal?: string[]
    timeline: string
    warning?: RegExp
  }
  const cases: Case[] = [
    { name: 'is the latest where there is no other', histories: () => ({}), timeline: 'latest' },
    {
      name: 'is the latest where every timeline descends from the backup, and each ended where the next began',
      histories: () => ({ 2: `1\t${late}\tx\n`, 3: `1\t${late}\tx\n2\t${late}\tx\n` }),
      timeline: 'latest',
    },
    {
      name: 'is that of the backup where the only other was forked before the backup ended (I9)',
      histories: () => ({ 2: `1\t${early}\tx\n` }),
      timeline: '1',
      warning: /will follow timeline 1; .*timeline 2, which does not hold this backup/,
    },
    {
      name: 'is the newest that holds the backup where a newer one does not (I9)',
      histories: () => ({ 2: `1\t${late}\tx\n`, 3: `1\t${early}\tx\n` }),
      timeline: '2',
      warning: /will follow timeline 2; .*timeline 3, which does not hold this backup/,
    },
    {
      name: 'is named where the timeline that was left went on (rule 9)',
      histories: () => ({ 2: `1\t${late}\tx\n` }),
      wal: ['00000001'],
      timeline: '2',
      warning: /will follow timeline 2; .*timeline 1, which has WAL after timeline 2 left it at /,
    },
    {
      name: 'is named where a sibling has WAL (rule 9)',
      histories: () => ({ 2: `1\t${late}\tx\n`, 3: `1\t${late}\tx\n` }),
      wal: ['00000002'],
      timeline: '3',
      warning: /will follow timeline 3; the archive also has timeline 2$/,
    },
    {
      name: 'is named where the server, counting up, would not find it',
      histories: () => ({ 3: `1\t${late}\tx\n` }),
      timeline: '3',
    },
    {
      name: 'is not that of a history which cannot be read',
      histories: () => ({ 2: '!' }),
      timeline: '1',
      warning: /timeline 2 is passed over: could not read the history file of timeline 2/,
    },
  ]
  for (const { name, histories, wal = [], timeline, warning } of cases) {
    test(name, async () => {
      const changes: Record<string, Buffer> = {}
      for (const [number, text] of Object.entries(histories())) {
        const file = `${number.padStart(8, '0')}.history`
        changes[`${record.cluster}/wal/${file}.zst`] = await walObject(file, text)
      }
      for (const each of wal) changes[segmentKey(each)] = Buffer.from('not read')
      const warnings: string[] = []
      const targetDirectory = repository.newTarget()
      const ended = await repository.damaged(changes, () =>
        repository.restore({ targetDirectory }, (event) => {
          if (event.type === 'warning') warnings.push(event.message)
        }),
      )
      assert.equal(ended.exitCode, 0, ended.message)
      const settings = readFileSync(path.join(targetDirectory, 'postgresql.auto.conf'), 'utf8')
      assert.match(settings, new RegExp(`^recovery_target_timeline = '${timeline}'$`, 'm'))
      assert.equal(warnings.length, warning ? 1 : 0, warnings.join('\n'))
      if (warning) assert.match(warnings[0]!, warning)
    })
  }
})
