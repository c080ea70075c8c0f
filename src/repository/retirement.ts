/** What was announced, and whether its grace period is over: decides if something may go now (format rule 7). */
import { numberOf, type Announcement, type BackupFolder } from './retired.js'

/** What the announcements say of one thing. */
export interface When {
  /** `now`: it may go in this run. `later`: its grace period is not over. */
  when: 'now' | 'later'
  /** Whether it was announced before this run. */
  isAnnounced: boolean
}

/** No backup takes longer. */
const LONGEST_BACKUP_MS = 7 * 86_400_000

/** Answers for one run. */
export class Retirement {
  readonly #announcements: readonly Announcement[]
  readonly #graceMs: number
  readonly #now: number
  readonly #wal = new Map<number, { first: bigint; last: bigint; isDue: boolean }[]>()

  /** `now` is by the store's clock; without grace everything may go at once. */
  constructor(announcements: readonly Announcement[], now: Date, graceMs: number, walSegmentSize: number) {
    this.#announcements = announcements
    this.#graceMs = graceMs
    this.#now = now.getTime()
    for (const announcement of announcements) {
      const isDue = this.#isDue(announcement)
      for (const { timeline, first, last } of announcement.retired.wal) {
        const ranges = this.#wal.get(timeline) ?? []
        ranges.push({ first: numberOf(first, walSegmentSize), last: numberOf(last, walSegmentSize), isDue })
        this.#wal.set(timeline, ranges)
      }
    }
  }

  ofWal(timeline: number, number: bigint): When {
    const naming = this.#wal.get(timeline)?.filter(({ first, last }) => number >= first && number <= last) ?? []
    return this.#when(naming.map(({ isDue }) => isDue))
  }

  ofFolder(folder: BackupFolder, id: string): When {
    const naming = this.#announcements.filter(
      ({ retired }) =>
        retired.backups.some((backup) => backup.id === id) ||
        retired.folders.some((each) => each.id === id && each.folder === folder),
    )
    return this.#when(naming.map((announcement) => this.#isDue(announcement)))
  }

  /** Why a backup without a record was announced as one that expires, if it was. */
  reasonOf(id: string): string | undefined {
    return this.#announcements.flatMap(({ retired }) => retired.backups).find((backup) => backup.id === id)?.reason
  }

  /**
   * Announcements that say nothing any more: nothing that they name is left, and no backup can be running that began before
   * them.
   */
  spent(isLeft: (announcement: Announcement) => boolean): string[] {
    const age = Math.max(this.#graceMs, LONGEST_BACKUP_MS)
    return this.#announcements
      .filter((announcement) => this.#now - announcement.announced.getTime() >= age && !isLeft(announcement))
      .map(({ key }) => key)
  }

  #isDue({ announced }: Announcement): boolean {
    return this.#now - announced.getTime() >= this.#graceMs
  }

  #when(isDue: readonly boolean[]): When {
    return { when: this.#graceMs === 0 || isDue.includes(true) ? 'now' : 'later', isAnnounced: isDue.length > 0 }
  }
}
