/**
 * Reads back what {@link exposition} has written, and nothing else: text that differs in one character is not ours, and a
 * number that was misread would silence an alarm.
 */
import type { Gauge } from './prometheus.js'

const METRIC = /^# HELP ([a-z_]+) ([^\n]+)\n# TYPE \1 gauge\n((?:\1[ {][^\n]*\n)+)/
const SAMPLE = /^[a-z_]+(?:\{([^\n]*)\})? (-?\d+(?:\.\d+)?(?:e[+-]\d+)?)$/
const LABEL = /^([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/

/** The gauges of a text; undefined where it is anything but a text of ours. */
export function readExposition(text: string): Gauge[] | undefined {
  const gauges: Gauge[] = []
  for (let rest = text; rest !== '';) {
    const [whole, name, help, lines] = METRIC.exec(rest) ?? []
    if (whole === undefined || name === undefined || help === undefined || lines === undefined) return undefined
    if (gauges.some((gauge) => gauge.name === name)) return undefined
    const samples = lines.trimEnd().split('\n').map(readSample)
    if (!samples.every((sample) => sample !== undefined)) return undefined
    gauges.push({ name, help: unescape(help), samples })
    rest = rest.slice(whole.length)
  }
  return gauges
}

function readSample(line: string): Gauge['samples'][number] | undefined {
  const [, text = '', value] = SAMPLE.exec(line) ?? []
  if (value === undefined) return undefined
  const labels: Record<string, string> = {}
  for (let rest = text; rest !== '';) {
    const [whole, name, label] = LABEL.exec(rest) ?? []
    if (whole === undefined || name === undefined || label === undefined || name in labels) return undefined
    labels[name] = unescape(label)
    rest = rest.slice(whole.length)
  }
  return { labels, value: Number(value) }
}

function unescape(text: string): string {
  return text.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one))
}
