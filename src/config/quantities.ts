/** Sizes and durations as people write them. */

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  TB: 1000 ** 4,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 }

/** What {@link parseSize} and {@link parseDuration} take, as patterns of a JSON schema. */
export const SIZE_PATTERN = patternOf(SIZE_UNITS)
export const DURATION_PATTERN = patternOf(DURATION_UNITS)
/** Of {@link parseRate}, and the word for no rate. */
export const RATE_PATTERN = `${SIZE_PATTERN.replace(/\\s\*\$$/, ' ?\\/ ?s\\s*$')}|^none$`

/** Bytes of `128MiB`, `1 GB` or `4096`; undefined for what is no size. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, SIZE_UNITS)
}

/** Bytes a second of `50MB/s` or `100 MiB/s`; undefined for what is no rate. */
export function parseRate(text: string): number | undefined {
  const match = /^(.*[^ ]) ?\/ ?s$/.exec(text.trim())
  return match?.[1] === undefined ? undefined : parseSize(match[1])
}

/** Milliseconds of `30s`, `10min` or `500ms`; undefined for what is no duration. A unit is required. */
export function parseDuration(text: string): number | undefined {
  return parseQuantity(text, DURATION_UNITS)
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(text.trim())
  const unit = match?.[2]
  const factor = unit !== undefined && Object.hasOwn(units, unit) ? units[unit] : undefined
  return factor === undefined ? undefined : Math.round(Number(match?.[1]) * factor)
}

function patternOf(units: Readonly<Record<string, number>>): string {
  return `^\\s*\\d+(\\.\\d+)? ?(${Object.keys(units).join('|')})\\s*$`
}
