/**
 * Metrics in the text format of Prometheus (exposition format 0.0.4). A few lines of ours: a library would bring a registry
 * that lives as long as a server does, and each run of a command tells its metrics once.
 */

/** A gauge, with its samples. Names end with their unit. */
export interface Gauge {
  name: string
  help: string
  /** A value that is not known is left out, sample and all: a made-up number would raise no alarm. */
  samples: { labels: Readonly<Record<string, string>>; value: number | undefined }[]
}

/** The text, with its final line break. */
export function exposition(gauges: readonly Gauge[]): string {
  return gauges
    .map(({ name, help, samples }) => ({ name, help, known: samples.filter(({ value }) => value !== undefined) }))
    .filter(({ known }) => known.length > 0)
    .map(({ name, help, known }) => {
      const lines = known.map(({ labels, value }) => `${name}${labelsText(labels)} ${String(value)}\n`)
      return `# HELP ${name} ${escape(help)}\n# TYPE ${name} gauge\n${lines.join('')}`
    })
    .join('')
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escape(value).replaceAll('"', '\\"')}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escape(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
}
