/** The forms that values of settings take: each parses text (and what YAML makes of it), and says what would be right. */
import * as v from 'valibot'
import { parseDuration, parseSize } from './quantities.js'

type Schema<T> = v.GenericSchema<unknown, T>

export function text(what: string): Schema<string> {
  return v.pipe(v.string(`expected ${what}`), v.minLength(1, `expected ${what}`))
}

export function url(): Schema<string> {
  const message = 'expected an http:// or https:// URL'
  return v.pipe(v.string(message), v.url(message), v.regex(/^https?:/, message))
}

export function choice<const T extends readonly string[]>(options: T): Schema<T[number]> {
  return v.picklist(options, `expected ${options.join(' or ')}`)
}

/** A flag and the environment bring text, the configuration file a boolean. */
export function flag(): Schema<boolean> {
  const message = 'expected true or false'
  const words = v.pipe(
    v.picklist(['true', 'false'], message),
    v.transform((word) => word === 'true'),
  )
  return v.union([v.boolean(), words], message)
}

function number(parse: (text: string) => number, isRight: (value: number) => boolean, message: string): Schema<number> {
  const fromText = v.pipe(v.string(), v.transform(parse))
  return v.pipe(v.union([v.number(), fromText], message), v.check(isRight, message))
}

export function wholeNumber(from: number, to: number): Schema<number> {
  const parse = (digits: string): number => (/^\d+$/.test(digits) ? Number(digits) : NaN)
  const isRight = (value: number): boolean => Number.isInteger(value) && value >= from && value <= to
  return number(parse, isRight, `expected a whole number from ${from} to ${to}`)
}

export function size(from: string, to: string): Schema<number> {
  const least = parseSize(from) ?? 0
  const most = parseSize(to) ?? 0
  const isRight = (value: number): boolean => value >= least && value <= most
  return number((words) => parseSize(words) ?? NaN, isRight, `expected a size from ${from} to ${to}, such as 128MiB`)
}

/**
 * Always with its unit: a bare number would be seconds to one and milliseconds to another. `0s` is one only where it has a
 * meaning.
 */
export function duration(example: string, { mayBeZero = false } = {}): Schema<number> {
  const message = `expected a duration such as ${example}`
  return v.pipe(
    v.string(message),
    v.transform((words) => parseDuration(words) ?? NaN),
    v.check((value) => value > 0 || (mayBeZero && value === 0), message),
  )
}
