/**
 * The "spec" reporter of node:test, which lists the skipped tests before the closing lines and fails the run for a skip
 * that is not excused.
 *
 * A test that is silently skipped looks like one that passed. So each skip needs a reason; and where everything is meant
 * to be there (CI=true or PGSLUICE_REQUIRE_ORACLES=1), only "this machine cannot …" is one: a server or a tool that was
 * simply not started or installed is then a failure. A test marked "todo" never fails and is treated the same.
 *
 * It also names the files that took longest, which run-tests.mjs begins with.
 */
import { relative } from 'node:path'
import { spec } from 'node:test/reporters'

const EXCUSE = 'this machine cannot'
const strict = process.env.CI === 'true' || process.env.PGSLUICE_REQUIRE_ORACLES === '1'

export default async function* reporter(source) {
  const inner = new spec()
  const skips = []
  const secondsOf = new Map()
  let refused = 0
  let listed = false
  for await (const event of source) {
    if (event.type === 'test:pass' || event.type === 'test:fail') {
      const reason = event.data.skip ?? event.data.todo
      if (reason !== undefined && reason !== false) {
        const text = typeof reason === 'string' ? reason : ''
        const excused = strict ? text.startsWith(EXCUSE) : text !== ''
        if (!excused) refused++
        skips.push(`${excused ? ' ' : '✖'} ${event.data.name} (${text === '' ? 'no reason given' : text})`)
      }
      if (event.data.nesting === 0 && event.data.file) {
        const name = relative('build/test', event.data.file).replace(/\.test\.js$/, '')
        secondsOf.set(name, (secondsOf.get(name) ?? 0) + event.data.details.duration_ms / 1000)
      }
    }
    if (!listed && isClosing(event)) {
      listed = true
      yield longest(secondsOf)
      const rule = strict ? `only "${EXCUSE} …" is a reason here` : 'every skip needs a reason'
      if (skips.length > 0)
        yield `\nskipped (${rule}; ✖ fails the run):\n${skips.map((skip) => `  ${skip}\n`).join('')}\n`
      // Set here and not at the end: node:test only ever raises it afterwards.
      if (refused > 0) process.exitCode = 1
    }
    inner.write(event)
    yield* drain(inner)
  }
  inner.end()
  yield* drain(inner)
  if (refused > 0) yield `✖ ${refused} test${refused === 1 ? ' was' : 's were'} skipped without an excuse, see above\n`
}

/** The files that took longest, of a run of many. */
function longest(secondsOf) {
  if (secondsOf.size < 30) return ''
  const files = [...secondsOf].sort(([, a], [, b]) => b - a).slice(0, 20)
  return `\nlongest files: ${files.map(([name, seconds]) => `${name} ${Math.round(seconds)} s`).join(', ')}\n`
}

/** Whether this is the first of the closing lines ("tests 12", "suites 3" …). */
function isClosing(event) {
  return event.type === 'test:diagnostic' && event.data.nesting === 0 && /^tests \d+$/.test(event.data.message)
}

/** What the inner reporter has made of the events so far. */
function* drain(inner) {
  for (let text = inner.read(); text !== null; text = inner.read()) yield text
}
