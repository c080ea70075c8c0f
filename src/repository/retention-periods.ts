/** Hours, days, weeks … in UTC, as grandfather-father-son retention counts them. */

/** A kind of period. */
export type Period = 'hour' | 'day' | 'week' | 'month' | 'year'

const DAY_MS = 86_400_000

/** A text that two instants share if and only if they are in the same period. Weeks begin on Monday, as in ISO 8601. */
export function periodOf(instant: Date, period: Period): string {
  const text = instant.toISOString()
  switch (period) {
    case 'hour':
      return text.slice(0, 13)
    case 'day':
      return text.slice(0, 10)
    case 'week': {
      const daysSinceMonday = (instant.getUTCDay() + 6) % 7
      return new Date(instant.getTime() - daysSinceMonday * DAY_MS).toISOString().slice(0, 10)
    }
    case 'month':
      return text.slice(0, 7)
    case 'year':
      return text.slice(0, 4)
  }
}

/** The newest of each of the last `count` periods that have one, of items in ascending order of time. */
export function newestOfPeriods<T>(items: readonly T[], timeOf: (item: T) => Date, period: Period, count: number): T[] {
  const newest = new Map<string, T>()
  for (const item of items) newest.set(periodOf(timeOf(item), period), item)
  return [...newest.values()].slice(-count)
}
