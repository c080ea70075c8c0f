/** The forms that values of settings take: each parses text (and what YAML makes of it), and says what would be right. */
import * as v from 'valibot'
import { isStorageUrl } from '../storage/storage-url.js'
import { DURATION_PATTERN, parseDuration, parseRate, parseSize, RATE_PATTERN, SIZE_PATTERN } from './quantities.js'

type Schema<T> = v.GenericSchema<unknown, T>

/** The same form as a JSON schema, for editors. */
export type JsonForm = Readonly<Record<string, unknown>>

function withForm<T>(schema: Schema<T>, json: JsonForm): Schema<T> {
  return v.pipe(schema, v.metadata({ json }))
}

export function text(what: string): Schema<string> {
  const schema = v.pipe(v.string(`expected ${what}`), v.minLength(1, `expected ${what}`))
  return withForm(schema, { type: 'string', minLength: 1 })
}

export function repository(): Schema<string> {
  const message = 'expected s3://bucket/prefix or file:///path'
  const schema = v.pipe(v.string(message), v.check(isStorageUrl, message))
  return withForm(schema, { type: 'string', pattern: '^(s3://|file:///)' })
}

export function url(): Schema<string> {
  const message = 'expected an http:// or https:// URL'
  const schema = v.pipe(v.string(message), v.url(message), v.regex(/^https?:/, message))
  return withForm(schema, { type: 'string', pattern: '^https?:' })
}

export function choice<const T extends readonly string[]>(options: T): Schema<T[number]> {
  return withForm(v.picklist(options, `expected ${options.join(' or ')}`), { enum: options })
}

/** A flag and the environment bring text, the configuration file a boolean. */
export function flag(): Schema<boolean> {
  const message = 'expected true or false'
  const words = v.pipe(
    v.picklist(['true', 'false'], message),
    v.transform((word) => word === 'true'),
  )
  return withForm(v.union([v.boolean(), words], message), { enum: [true, false, 'true', 'false'] })
}

function number(
  parse: (text: string) => number,
  isRight: (value: number) => boolean,
  { message, json }: { message: string; json: JsonForm },
): Schema<number> {
  const fromText = v.pipe(v.string(), v.transform(parse))
  const schema = v.pipe(v.union([v.number(), fromText], message), v.check(isRight, message))
  return withForm(schema, { type: ['integer', 'string'], ...json })
}

export function wholeNumber(from: number, to: number): Schema<number> {
  const parse = (digits: string): number => (/^\d+$/.test(digits) ? Number(digits) : NaN)
  const isRight = (value: number): boolean => Number.isInteger(value) && value >= from && value <= to
  const message = `expected a whole number from ${from} to ${to}`
  return number(parse, isRight, { message, json: { minimum: from, maximum: to, pattern: '^\\d+$' } })
}

export function size(from: string, to: string): Schema<number> {
  const least = parseSize(from) ?? 0
  const most = parseSize(to) ?? 0
  const isRight = (value: number): boolean => value >= least && value <= most
  const message = `expected a size from ${from} to ${to}, such as 128MiB`
  const json = { minimum: least, maximum: most, pattern: SIZE_PATTERN }
  return number((words) => parseSize(words) ?? NaN, isRight, { message, json })
}

/** Bytes a second; 0 for `none`, which takes back what a source below it says. */
export function rate(from: string): Schema<number> {
  const least = parseRate(from) ?? 0
  const isRight = (value: number): boolean => value === 0 || (value >= least && value < Number.MAX_SAFE_INTEGER)
  const parse = (words: string): number => {
    if (words === 'none') return 0
    const bytes = parseRate(words)
    return bytes === undefined || bytes === 0 ? NaN : bytes
  }
  const message = `expected a rate of at least ${from}, such as 50MB/s or 100MiB/s, or none`
  const schema = v.pipe(v.string(message), v.transform(parse), v.check(isRight, message))
  return withForm(schema, { type: 'string', pattern: RATE_PATTERN })
}

/**
 * Always with its unit: a bare number would be seconds to one and milliseconds to another. `0s` is one only where it has a
 * meaning.
 */
export function duration(example: string, { mayBeZero = false } = {}): Schema<number> {
  const message = `expected a duration such as ${example}`
  const schema = v.pipe(
    v.string(message),
    v.transform((words) => parseDuration(words) ?? NaN),
    v.check((value) => value > 0 || (mayBeZero && value === 0), message),
  )
  return withForm(schema, { type: 'string', pattern: DURATION_PATTERN })
}
