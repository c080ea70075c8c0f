/** Numbers as people read them. */

/** `1.3 GiB`, `512 B`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit] ?? ''}`
}

/** `42 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** `2026-11-22 18:45:01 UTC` */
export function formatTime(instant: string): string {
  return `${instant.slice(0, 19).replace('T', ' ')} UTC`
}

/** How long ago an instant is at `now`: `42 s ago`, `3 h ago`, `12 d ago`. Clocks differ: what is yet to come is `now`. */
export function formatAge(instant: string, now: string): string {
  const seconds = Math.floor((Date.parse(now) - Date.parse(instant)) / 1000)
  if (!(seconds > 0)) return 'now'
  for (const [unit, length, below] of AGES) if (seconds < below) return `${Math.floor(seconds / length)} ${unit} ago`
  return `${Math.floor(seconds / 86_400)} d ago`
}

/** Unit, its seconds, and the age from which on the next one is used. */
const AGES = [
  ['s', 1, 60],
  ['min', 60, 3600],
  ['h', 3600, 2 * 86_400],
] as const

/** `4.2x`: how much smaller it is stored. */
export function formatRatio(bytes: number, storedBytes: number): string {
  return storedBytes > 0 ? `${(bytes / storedBytes).toFixed(1)}x` : '-'
}

/** `120 MiB/s` */
export function formatRate(bytes: number, seconds: number): string {
  return seconds > 0 ? `${formatBytes(Math.round(bytes / seconds))}/s` : '-'
}
